"""How long a process that ended waits for its restart: Kubernetes' CrashLoopBackOff, on a laptop's scale."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BackoffConfig:
    """Durations in seconds."""

    first: float = 0.2
    """The first wait; it doubles with each further end."""
    longest: float = 10.0
    """It never grows beyond."""
    stable: float = 5.0
    """A process that ran for this long starts again from the first wait."""


class Backoff:
    """The waits of one replica."""

    def __init__(self, config: BackoffConfig) -> None:
        self._config = config
        self._next = config.first

    def after(self, uptime: float) -> float:
        """Seconds to wait, now that a process ended after `uptime` seconds."""
        if uptime >= self._config.stable:
            self._next = self._config.first
        wait = self._next
        self._next = min(wait * 2, self._config.longest)
        return wait
