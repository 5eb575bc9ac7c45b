"""Decides when to look a name up again. Pure: gets the time as an argument, and returns how long to wait."""

from grpcmesh.clock import Rng
from grpcmesh.config import ResolverConfig

#: The most seconds for which a negative answer (no such name, or no addresses) is used, whatever its TTL. It
#: is short so that a service that starts is found soon.
MAX_NEGATIVE = 5.0


class Schedule:
    """Schedules look-ups: at the end of the TTL, or sooner on request, but not sooner than `min_interval`."""

    def __init__(self, config: ResolverConfig, rng: Rng) -> None:
        self._config, self._rng = config, rng
        self._asked = float("-inf")
        self._due = float("-inf")

    def answered(self, now: float, ttl: float | None, *, negative: bool = False) -> None:
        """Note that a look-up was answered.

        Args:
            now: Clock time in seconds at which it ended.
            ttl: TTL of the answer in seconds; None if it had none.
            negative: Whether the answer had no addresses.
        """
        c = self._config
        interval = min(c.min_interval if ttl is None else ttl, c.max_interval)
        if negative:
            interval = min(interval, MAX_NEGATIVE)
        # Jitter only shortens, so that an answer is not used past its TTL.
        interval *= 1 - c.jitter * self._rng.random()
        self._asked, self._due = now, now + max(interval, c.min_interval)

    def failed(self, started: float) -> None:
        """Note that a look-up failed that began at clock time `started` (s).

        The wait is counted from that time, because an unanswered look-up has taken long already. So a
        nameserver that returns after an outage is asked soon.
        """
        self._asked = started
        self._due = started + self._config.min_interval

    def wait(self, now: float, wanted: bool) -> float:
        """Return the seconds until the next look-up. `wanted`: whether one has been requested."""
        due = self._asked + self._config.min_interval if wanted else self._due
        return max(0.0, due - now)
