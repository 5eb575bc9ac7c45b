"""The priorities of calls at one server."""

import enum


class Priority(enum.IntEnum):
    """The priority of a method, the most important first. It is DEFAULT unless the settings say otherwise."""

    CRITICAL = 0
    DEFAULT = 1
    SHEDDABLE = 2
