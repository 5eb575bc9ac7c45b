"""Decides when each replica's page is read, within a budget. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

#: Seconds for which a panel counts as open after it was asked for; an open one asks every five seconds.
OPEN = 12.0
#: Seconds of the budget that may be used at once: the poller asks every tenth of a second, or later.
BURST = 0.25


@dataclass(frozen=True)
class Budget:
    """How much the console reads. It depends on whether there are viewers, not on how many."""

    interval: float = 1.1
    """Seconds between two readings of a replica while somebody watches."""
    idle_interval: float = 5.0
    """The same while nobody watches: the history goes on."""
    reads: float = 150.0
    """The most pages per second in all. Beyond `reads` × `interval` replicas each is read less often."""
    selected: float = 0.5
    """The share of `reads` up to which the replicas that viewers have selected are read every `interval`."""
    concurrent: int = 32
    """The most pages that are read at a time."""
    timeout: float = 3.0
    """Seconds that a page may take."""
    push: float = 0.7
    """Seconds between two frames while somebody watches."""
    idle_push: float = 2.5
    """The same while nobody watches."""

    @property
    def most_selected(self) -> int:
        """Return the most replicas that are read every `interval` in any case."""
        return int(self.reads * self.selected * self.interval)

    def interval_of(self, replicas: int, watched: bool, selected: int = 0) -> float:
        """Return the seconds between two readings of each of so many replicas.

        Args:
            replicas: The number of all replicas.
            watched: Whether somebody watches.
            selected: How many of them are selected; each of these is read every `interval`.
        """
        reads = self.reads - selected / self.interval
        return max(self.interval if watched else self.idle_interval, (replicas - selected) / reads)


class Selection:
    """The replicas of what viewers have selected: those whose panel was asked for in the last seconds.

    Args:
        most: The most replicas; those that were asked for last count.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._asked: dict[str, float] = {}

    def ask(self, names: Iterable[str], now: float) -> None:
        """Note that a panel about these replicas was asked for at `now`, in monotonic seconds."""
        for name in list(names)[: self._most]:
            self._asked.pop(name, None)
            self._asked[name] = now
        for name in list(self._asked)[: -self._most]:
            del self._asked[name]

    def at(self, now: float) -> Collection[str]:
        """Return the selected replicas."""
        self._asked = {name: asked for name, asked in self._asked.items() if now - asked < OPEN}
        return self._asked.keys()


class Allowance:
    """How many readings may start now (a token bucket).

    Args:
        rate: Readings per second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left = self._most = max(1.0, rate * BURST)
        self._at: float | None = None

    def at(self, now: float) -> int:
        """Return how many may start at `now`, in monotonic seconds."""
        since = 0.0 if self._at is None else max(0.0, now - self._at)
        self._left = min(self._most, self._left + since * self._rate)
        self._at = now
        return int(self._left)

    def take(self, number: int) -> None:
        """Note that so many have started."""
        self._left -= number


class Schedule:
    """Spreads the readings of all replicas evenly over the interval.

    Args:
        budget: The budget.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._next: dict[str, float] = {}
        self._running: set[str] = set()
        self._selected: frozenset[str] = frozenset()
        self._allowed = Allowance(budget.reads)
        self._allowed_first = Allowance(budget.reads * budget.selected)

    def due(
        self, names: Collection[str], now: float, watched: bool, selected: Collection[str] = ()
    ) -> list[str]:
        """Return the replicas whose pages are to be read now. The caller reports each by `done`.

        Args:
            names: The present replicas.
            now: Monotonic seconds.
            watched: Whether somebody watches.
            selected: The replicas that are read before others, at most `most_selected` of the budget.
        """
        present = frozenset(names)
        first = present.intersection(selected) if watched else frozenset()
        interval = self._budget.interval_of(len(names), watched, len(first))
        intervals = {name: self._budget.interval if name in first else interval for name in names}
        new = [name for name in names if name not in self._next]
        for position, name in enumerate(new):
            self._next[name] = now + interval * position / len(new)
        for name in self._next.keys() - present:
            del self._next[name]
        self._begin(first - self._selected, now)
        self._selected = first
        chosen = self._chosen([name for name in names if self._next[name] <= now], now)
        self._running.update(chosen)
        for name in chosen:
            # In steps of the interval, so that the readings stay spread; but never to catch up.
            self._next[name] = max(self._next[name] + intervals[name], now)
        if watched:
            for name in names:
                self._next[name] = min(self._next[name], now + intervals[name])
        return chosen

    def _begin(self, selected: Collection[str], now: float) -> None:
        """Spread the readings of newly selected replicas over the interval that begins now."""
        for position, name in enumerate(selected):
            soon = now + self._budget.interval * position / len(selected)
            self._next[name] = min(self._next[name], soon)

    def _chosen(self, due: Collection[str], now: float) -> list[str]:
        """Return which of the replicas that are due may be read now.

        Selected replicas come first, within their share of the budget and of the concurrent readings. The
        rest goes to the replicas that have waited the longest, so each replica is read, however often
        viewers select something else.
        """
        ready = sorted((n for n in due if n not in self._running), key=self._next.__getitem__)
        free = max(0, min(self._budget.concurrent - len(self._running), self._allowed.at(now)))
        slots = int(self._budget.concurrent * self._budget.selected) - len(self._running & self._selected)
        urgent = max(0, min(free, slots, self._allowed_first.at(now)))
        first = dict.fromkeys([name for name in ready if name in self._selected][:urgent])
        others = [name for name in ready if name not in first][: free - len(first)]
        self._allowed_first.take(len(first))
        self._allowed.take(len(first) + len(others))
        return [*first, *others]

    def done(self, name: str) -> None:
        """Note that a reading has ended, however it did."""
        self._running.discard(name)
