"""What can go wrong with the embedded cluster, each said in one clear line."""


class ClusterError(Exception):
    """The operation failed; the message is meant for the person at the terminal.

    Args:
        message: One clear line.
        detail: Further lines, such as the end of a replica's log.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


def describe(error: OSError) -> str:
    """One line for an error of the operating system: `No space left on device: .meshmart/data`."""
    what = error.strerror or str(error)
    return f"{what}: {error.filename}" if error.filename else what
