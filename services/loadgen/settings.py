"""The settings that the load generator reads from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from grpcmesh.config import ConfigError
from services.loadgen.journeys import SCENARIOS

_RPS = "MESHMART_LOAD_RPS"
_SCENARIO = "MESHMART_LOAD_SCENARIO"
MAX_RPS = 2000.0
DEFAULT = "mix"


@dataclass(frozen=True, slots=True)
class Settings:
    """MESHMART_LOAD_RPS (arrivals per second and replica; 0 means no load) and MESHMART_LOAD_SCENARIO."""

    rps: float
    scenario: str

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read the settings. Raises ConfigError with a line for each invalid variable."""
        problems: list[str] = []
        scenario = environ.get(_SCENARIO, "") or DEFAULT
        if scenario not in SCENARIOS:
            problems.append(f"{_SCENARIO}={scenario!r}: must be one of {', '.join(SCENARIOS)}")
        rps = _rps(environ.get(_RPS, ""), problems)
        if problems:
            raise ConfigError(problems)
        return cls(rps, scenario)


def _rps(text: str, problems: list[str]) -> float:
    try:
        rps = float(text or 0)
    except ValueError:
        rps = -1.0
    if not 0 <= rps <= MAX_RPS:
        problems.append(f"{_RPS}={text!r}: must be a number from 0 to {MAX_RPS:g}")
    return rps
