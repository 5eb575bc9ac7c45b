"""Settings that several services read from their environment."""

from collections.abc import Mapping

from grpcmesh.config import ConfigError


def one_or_more(environ: Mapping[str, str], name: str, default: float, unit: str) -> float:
    """Return a setting that is a number of `unit`, such as seconds, or the default if it is not set.

    Raises:
        ConfigError: it is not a finite number of at least 1.
    """
    text = environ.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise ConfigError([f"{name}={text!r}: must be {unit}, 1 or more"])
    return value
