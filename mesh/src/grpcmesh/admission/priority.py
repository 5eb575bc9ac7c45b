"""How important a call is, next to others at the same server."""

import enum


class Priority(enum.IntEnum):
    """The most important first. A method has DEFAULT unless the settings say otherwise."""

    CRITICAL = 0
    DEFAULT = 1
    SHEDDABLE = 2
