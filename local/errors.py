"""Errors of the embedded cluster, each with a one-line message."""


class ClusterError(Exception):
    """An operation failed. The message is meant for the person at the terminal.

    Args:
        message: One clear line.
        detail: Further lines, such as the end of a replica's log.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class NoAnswerError(ClusterError):
    """What was asked did not answer, and may answer later: a busy API server, a replica that starts."""


class LeaseEndedError(ClusterError):
    """A lease cannot be renewed, because somebody else has ended or changed what it was for."""


def describe(error: OSError) -> str:
    """Return one line for an error of the operating system, such as `No space left on device:
    .meshmart/data`.
    """
    what = error.strerror or str(error)
    return f"{what}: {error.filename}" if error.filename else what
