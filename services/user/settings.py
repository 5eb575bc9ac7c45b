"""The settings that the user service reads from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from grpcmesh.config import ConfigError
from services.kit.validation import INT32_MAX
from services.user.logins import Lifetimes

_KEYS = "MESHMART_SIGNING_KEYS_DIR"
_ACCESS = "MESHMART_ACCESS_TOKEN_LIFETIME"
_REFRESH = "MESHMART_REFRESH_TOKEN_LIFETIME"


@dataclass(frozen=True, slots=True)
class Settings:
    """MESHMART_SIGNING_KEYS_DIR, and MESHMART_{ACCESS,REFRESH}_TOKEN_LIFETIME in seconds."""

    keys: Path
    lifetimes: Lifetimes

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings. Raises ConfigError with a line for each invalid variable."""
        problems: list[str] = []
        directory = environ.get(_KEYS, "")
        if not directory:
            problems.append(f"{_KEYS}: must be set")
        default = Lifetimes()
        access = _seconds(environ, _ACCESS, default.access, problems)
        refresh = _seconds(environ, _REFRESH, default.refresh, problems)
        if problems:
            raise ConfigError(problems)
        return cls(Path(directory), Lifetimes(access, refresh))


def _seconds(environ: Mapping[str, str], variable: str, default: int, problems: list[str]) -> int:
    raw = environ.get(variable, "")
    try:
        seconds = int(raw) if raw else default
    except ValueError:
        seconds = 0
    if not 0 < seconds <= INT32_MAX:
        problems.append(f"{variable}={raw!r}: must be a positive number of seconds")
    return seconds
