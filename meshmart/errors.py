"""The error of a verb that fails."""


class CommandError(Exception):
    """The user's request cannot be fulfilled. The message is one clear line."""
