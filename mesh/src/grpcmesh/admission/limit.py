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
#: Answers that make a mean. The latency of a single answer would say nothing: work differs.
_ENOUGH = 20
#: Answers that make a mean which a baseline is taken from. The least of many means of few is half of what
#: calls that differ at random take, which looked like queueing: at 85 % of its capacity a simulated server
#: refused four calls in five.
_MANY_ANSWERS = 100
#: Weight of the newest interval in the average of stretched latency.
_LEARN = 0.5
#: Where the limit starts: it grows in a second or two, and a queue that has built up drains for longer.
_FIRST = 20
#: How many calls may queue before the limit stops growing, and before it shrinks, as shares of the limit.
_FEW, _MANY = 0.2, 0.4


@dataclass(slots=True)
class _Latency:
    """Of one method."""

    #: The least mean of many answers, in seconds; until there is one, the mean of those that there were.
    baseline: float = 0.0
    #: When the last mean of many was taken, in monotonic seconds; None: none was yet.
    at: float | None = None
    #: Of the answers since the last mean.
    total: float = 0.0
    count: int = 0
    #: Of those since the last mean of many.
    long_total: float = 0.0
    long_count: int = 0

    def look(self, now: float) -> float:
        """Begin a new mean, and return by how much the last one is above the baseline; 1: not at all."""
        mean = self.total / self.count
        self.long_total += self.total
        self.long_count += self.count
        self.total, self.count = 0.0, 0
        long_mean = self.long_total / self.long_count
        if self.at is None:
            self.baseline = long_mean
        if self.long_count >= _MANY_ANSWERS:
            self._settle(long_mean, now)
        return max(1.0, mean / self.baseline)

    def _settle(self, mean: float, now: float) -> None:
        if self.at is not None:
            forgotten = min(1.0, (now - self.at) / _FORGET)
            self.baseline = min(mean, self.baseline + (mean - self.baseline) * forgotten)
        self.at, self.long_total, self.long_count = now, 0.0, 0


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
        self._latencies: dict[str, _Latency] = {}
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
        known = self._latencies.get(method)
        if known is None:
            if len(self._latencies) >= _MAX_METHODS:
                return
            known = self._latencies[method] = _Latency()
        known.total += latency
        known.count += 1

    def _adapt(self) -> None:
        now = self._clock()
        self._due = now + self._interval
        if not self._look(now):
            return  # what an earlier change of the limit has brought about is not known yet
        queued = self.limit * (1 - 1 / self.stretch)
        if queued > _MANY * self.limit:
            # Never below what a fully used server without a queue would run at once.
            self.limit = max(self._least, self.limit / self.stretch, self.limit * 0.7)
        elif queued < _FEW * self.limit and self._peak >= self.limit / 2:
            self.limit = min(self._most, self.limit * 1.1 + 1)
        self._peak = self.in_flight

    def _look(self, now: float) -> bool:
        """Compare new means with the baselines, weighed by their calls. Return whether there were any."""
        stretched = calls = 0.0
        for known in self._latencies.values():
            if known.count < _ENOUGH:
                continue
            count = known.count
            stretched += count * known.look(now)
            calls += count
        if calls:
            self.stretch += (stretched / calls - self.stretch) * _LEARN
        return calls > 0
