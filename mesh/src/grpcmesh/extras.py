"""Messages about optional packages that are not installed."""


def missing(feature: str, extra: str, error: ModuleNotFoundError) -> str:
    """Return a line that says which package is missing, and how to install it.

    Args:
        feature: What does not work, as a clause: "spans are not exported".
        extra: The extra of this project that includes the package.
        error: The error of the import.
    """
    return f"{feature}: {error.name} is not installed (pip install 'grpcmesh[{extra}]')"
