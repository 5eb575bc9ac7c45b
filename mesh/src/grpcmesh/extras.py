"""Packages that the library does without: what is missing where a feature needs one."""


def missing(feature: str, extra: str, error: ModuleNotFoundError) -> str:
    """Return a line that says what is not there, and how to get it.

    Args:
        feature: What does not work, with its verb: "spans are not exported".
        extra: Of this project, that brings the package.
        error: Of the import.
    """
    return f"{feature}: {error.name} is not installed (pip install 'grpcmesh[{extra}]')"
