"""The backoff before an ended process is restarted: Kubernetes' CrashLoopBackOff with shorter times."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BackoffConfig:
    """The settings of a backoff, in seconds."""

    first: float = 0.2
    """The first wait; it doubles with each further end of the process."""
    longest: float = 10.0
    """The longest wait."""
    stable: float = 5.0
    """After a process has run for this long, the next wait is the first one again."""


class Backoff:
    """The backoff of one replica."""

    def __init__(self, config: BackoffConfig) -> None:
        self._config = config
        self._next = config.first

    def after(self, uptime: float) -> float:
        """Return the seconds to wait, now that a process ended after `uptime` seconds."""
        if uptime >= self._config.stable:
            self._next = self._config.first
        wait = self._next
        self._next = min(wait * 2, self._config.longest)
        return wait
