"""A limit on calls that run at once, which adapts to how much longer they take than they need.

After TCP Vegas, as in Netflix's concurrency-limits (https://github.com/Netflix/concurrency-limits): what a
call takes beyond the least that its method takes is time spent queueing behind others. Each method has a
least latency of its own, so that a mix of short and long methods is not taken for queueing.
"""

from dataclasses import dataclass

from grpcmesh.clock import Clock

#: Methods with a baseline of their own; a process knows few.
_MAX_METHODS = 1024
#: Seconds in which a baseline rises to the latency that it sees, where none is as low any more.
_FORGET = 300.0
#: Weight of the newest answer in the average of stretched latency.
_LEARN = 0.05
#: Where the limit starts: it grows in a second or two, and a queue that has built up drains for longer.
_FIRST = 20
#: How many calls may queue before the limit stops growing, and before it shrinks, as shares of the limit.
_FEW, _MANY = 0.2, 0.4


@dataclass(slots=True)
class _Baseline:
    """The least that a method takes (s), and when it was last looked at."""

    latency: float
    at: float


class ConcurrencyLimit:
    """How many calls may run.

    Args:
        least: The limit never goes below this.
        most: The limit never goes above this.
        clock: Monotonic seconds.
        interval: Seconds between two changes.
    """

    def __init__(self, least: int, most: int, clock: Clock, interval: float = 0.1) -> None:
        self._least, self._most, self._clock, self._interval = least, most, clock, interval
        self.limit = float(min(most, max(least, _FIRST)))
        #: How much longer calls take than they need; 1: they do not queue.
        self.stretch = 1.0
        self._baselines: dict[str, _Baseline] = {}
        self._due = clock() + interval
        self._peak = 0
        self.in_flight = 0

    def started(self) -> None:
        """A call begins to run."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)

    def ended(self, method: str, latency: float | None) -> None:
        """A call has ended.

        Args:
            method: Its full name.
            latency: Seconds since it arrived; None where its end says nothing, as when it was cancelled.
        """
        self.in_flight -= 1
        if latency is not None:
            self._learn(method, max(latency, 1e-6))
        if self._clock() >= self._due:
            self._adapt()

    def _learn(self, method: str, latency: float) -> None:
        now, baseline = self._clock(), self._baselines.get(method)
        if baseline is None:
            if len(self._baselines) >= _MAX_METHODS:
                return
            baseline = self._baselines[method] = _Baseline(latency, now)
        forgotten = min(1.0, (now - baseline.at) / _FORGET)
        baseline.latency = min(latency, baseline.latency + (latency - baseline.latency) * forgotten)
        baseline.at = now
        self.stretch += (latency / baseline.latency - self.stretch) * _LEARN

    def _adapt(self) -> None:
        queued = self.limit * (1 - 1 / self.stretch)
        if queued > _MANY * self.limit:
            # Never below what a fully used server without a queue would run at once.
            self.limit = max(self._least, self.limit / self.stretch, self.limit * 0.7)
        elif queued < _FEW * self.limit and self._peak >= self.limit / 2:
            self.limit = min(self._most, self.limit * 1.1 + 1)
        self._peak = self.in_flight
        self._due = self._clock() + self._interval
