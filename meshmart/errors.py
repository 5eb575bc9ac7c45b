"""The one way in which a verb fails."""


class CommandError(Exception):
    """What the person at the terminal asked for cannot be done; the message is one clear line."""
