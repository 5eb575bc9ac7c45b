"""When to ask DNS again. Pure: takes the time, says how long to wait."""

from grpcmesh.clock import Rng
from grpcmesh.config import ResolverConfig

#: Seconds for which it is believed at most that a name does not exist or has no addresses, whatever the zone
#: allows: a service that starts should not be missed for long.
MAX_NEGATIVE = 5.0


class Schedule:
    """The next look-up: at the end of the TTL, sooner where asked for, never sooner than allowed."""

    def __init__(self, config: ResolverConfig, rng: Rng) -> None:
        self._config, self._rng = config, rng
        self._asked = float("-inf")
        self._due = float("-inf")

    def answered(self, now: float, ttl: float | None, *, negative: bool = False) -> None:
        """Note that a look-up was answered.

        Args:
            now: When it ended, in seconds.
            ttl: That of the answer in seconds, or None where it had none.
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
        """Note that a look-up that began at `started` (s) failed.

        The wait counts from its beginning: a nameserver that is back after an outage is asked soon, for a
        look-up that nobody answers has taken its time already.
        """
        self._asked = started
        self._due = started + self._config.min_interval

    def wait(self, now: float, wanted: bool) -> float:
        """Return the seconds until the next look-up; `wanted`: somebody asked for one."""
        due = self._asked + self._config.min_interval if wanted else self._due
        return max(0.0, due - now)
