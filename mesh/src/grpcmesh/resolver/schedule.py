"""When to ask DNS again. Pure: takes the time, says how long to wait."""

from grpcmesh.clock import Rng
from grpcmesh.config import ResolverConfig


class Schedule:
    """The next look-up: at the end of the TTL, sooner where asked for, never sooner than allowed."""

    def __init__(self, config: ResolverConfig, rng: Rng) -> None:
        self._config, self._rng = config, rng
        self._asked = float("-inf")
        self._due = float("-inf")

    def asked(self, now: float, ttl: float | None) -> None:
        """A look-up ended at `now` (s); `ttl` (s) is that of its answer, None where it had none."""
        c = self._config
        interval = c.min_interval if ttl is None else min(max(ttl, c.min_interval), c.max_interval)
        # Jitter only shortens, so that an answer is never used past its TTL.
        interval *= 1 - c.jitter * self._rng.random()
        self._asked, self._due = now, now + max(interval, c.min_interval)

    def wait(self, now: float, wanted: bool) -> float:
        """Seconds until the next look-up; `wanted`: somebody asked for one."""
        due = self._asked + self._config.min_interval if wanted else self._due
        return max(0.0, due - now)
