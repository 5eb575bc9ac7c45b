"""Decides when each replica's page is read, within a budget. Pure."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """How much the console reads. It depends on whether there are viewers, not on how many."""

    interval: float = 1.1
    """Seconds between two readings of a replica while somebody watches."""
    idle_interval: float = 5.0
    """The same while nobody watches: the history goes on."""
    reads: float = 150.0
    """The most pages per second in all. Beyond `reads` × `interval` replicas each is read less often."""
    concurrent: int = 32
    """The most pages that are read at a time."""
    timeout: float = 3.0
    """Seconds that a page may take."""
    push: float = 0.7
    """Seconds between two frames while somebody watches."""
    idle_push: float = 2.5
    """The same while nobody watches."""

    def interval_of(self, replicas: int, watched: bool) -> float:
        """Return the seconds between two readings of each of so many replicas."""
        return max(self.interval if watched else self.idle_interval, replicas / self.reads)


class Schedule:
    """Spreads the readings of all replicas evenly over the interval.

    Args:
        budget: The budget.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._next: dict[str, float] = {}
        self._running: dict[str, float] = {}

    def due(self, names: Collection[str], now: float, watched: bool) -> list[str]:
        """Return the replicas whose pages are to be read now. The caller reports each by `done`.

        Args:
            names: The present replicas.
            now: Monotonic seconds.
            watched: Whether somebody watches.
        """
        interval = self._budget.interval_of(len(names), watched)
        new = [name for name in names if name not in self._next]
        for position, name in enumerate(new):
            self._next[name] = now + interval * position / len(new)
        for name in self._next.keys() - set(names):
            del self._next[name]
        free = self._budget.concurrent - len(self._running)
        ready = [n for n in names if n not in self._running and min(self._next[n], now + interval) <= now]
        chosen = sorted(ready, key=self._next.__getitem__)[: max(free, 0)]
        for name in chosen:
            self._running[name] = now
            # In steps of the interval, so that the readings stay spread; but never to catch up.
            self._next[name] = max(self._next[name] + interval, now)
        if watched:
            for name in names:
                self._next[name] = min(self._next[name], now + interval)
        return chosen

    def done(self, name: str) -> None:
        """Note that a reading has ended, however it did."""
        self._running.pop(name, None)
