"""Settings that several services read from their environment."""

from collections.abc import Mapping

from grpcmesh.config import ConfigError


def one_or_more(environ: Mapping[str, str], name: str, default: float, unit: str) -> float:
    """A number of `unit`, such as seconds; the default where there is none.

    Raises:
        ConfigError: it is not a number, less than 1, or not finite.
    """
    text = environ.get(name, "")
    try:
        value = float(text or default)
    except ValueError:
        value = 0.0
    if not 1 <= value < float("inf"):
        raise ConfigError([f"{name}={text!r}: must be {unit}, 1 or more"])
    return value
