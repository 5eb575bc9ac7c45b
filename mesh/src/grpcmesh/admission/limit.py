"""A limit on concurrent calls, which adapts to how much longer calls take than their method's least latency.

After TCP Vegas, as in Netflix's concurrency-limits (https://github.com/Netflix/concurrency-limits): the time
that a call takes beyond the least latency of its method is time spent queueing. Each method has its own least
latency, so that a mix of short and long methods is not mistaken for queueing.
"""

from dataclasses import dataclass

from grpcmesh.clock import Clock

#: The most methods with a baseline of their own; a process has few methods.
_MAX_METHODS = 1024
#: Seconds in which a baseline rises to the observed latency when that no longer gets as low.
_FORGET = 300.0
#: The least number of answers in a mean. The latency of a single answer says little, because work differs.
_ENOUGH = 20
#: The least number of answers in a mean that a baseline is taken from. With means of few answers, the least
#: of them was half of the true mean of calls that differ at random. The difference looked like queueing: at
#: 85 % of its capacity a simulated server refused four calls in five.
_MANY_ANSWERS = 100
#: Weight of the newest interval in the average of stretched latency.
_LEARN = 0.5
#: The initial limit. It is low because the limit grows within a second or two, while a queue takes longer to
#: drain.
_FIRST = 20
#: How many calls may queue before the limit stops growing, and before it shrinks, as shares of the limit.
_FEW, _MANY = 0.2, 0.4


@dataclass(slots=True)
class _Latency:
    """The latencies of one method."""

    #: The least mean of many answers, in seconds. Until there is one, the mean of all answers so far.
    baseline: float = 0.0
    #: When the last mean of many answers was taken, in monotonic seconds; None before the first.
    at: float | None = None
    #: Sum (s) and number of the answers since the last mean.
    total: float = 0.0
    count: int = 0
    #: Sum (s) and number of the answers since the last mean of many answers, without those of `total`.
    long_total: float = 0.0
    long_count: int = 0

    def look(self, now: float) -> float:
        """Take the mean of the answers since the last call. Return its ratio to the baseline, at least 1."""
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
    """Adapts the number of calls that may run at once.

    Args:
        least: Lower bound of the limit.
        most: Upper bound of the limit.
        clock: Monotonic seconds.
        interval: Seconds between two changes of the limit.
    """

    def __init__(self, least: int, most: int, clock: Clock, interval: float = 0.1) -> None:
        self._least, self._most, self._clock, self._interval = least, most, clock, interval
        self.limit = float(min(most, max(least, _FIRST)))
        #: Ratio of the latency of calls to their baseline; 1 if they do not queue.
        self.stretch = 1.0
        self._latencies: dict[str, _Latency] = {}
        self._due = clock() + interval
        self._peak = 0
        self.in_flight = 0

    def started(self) -> None:
        """Count a call that begins to run."""
        self.in_flight += 1
        self._peak = max(self._peak, self.in_flight)

    def ended(self, method: str, latency: float | None) -> None:
        """Handle the end of a call: learn from its latency, and change the limit when that is due.

        Args:
            method: Path of its method.
            latency: Seconds that it took; None if that says nothing, as when it was cancelled.
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
        """Update `stretch` from new means, weighted by their calls. Return whether there were any."""
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
