"""Admission by the age of calls: how long a call has queued in this process before its handler runs.

A server whose handlers use much CPU has its queue in gRPC's core. There neither handler latency nor the
number of running handlers shows it, but the age does. Calls are refused by priority, the least important
first, as in DAGOR (Zhou et al., "Overload Control for Scaling WeChat Microservices",
https://arxiv.org/abs/1806.04075).

The share of calls to refuse is computed as in PIE (RFC 8033), from the age and its trend. It needs neither
the rate of calls nor their cost. A standing queue is told from a burst as in CoDel (RFC 8289), by the least
age in a window.
"""

from grpcmesh.admission.priority import Priority
from grpcmesh.clock import Clock

#: Length of a window in seconds: long enough to hold some calls, short enough to end an overload in a second.
WINDOW = 0.1
#: PIE's gains: how much the refused share changes per second of age beyond the target, and per second by
#: which the age has grown. Found by simulation for this window.
_ALPHA, _BETA = 0.125, 2.0
#: The largest change of the refused share in one window.
_STEP = 0.5
#: Windows in a row with a queue before calls are refused. If the machine has not run the process for a
#: moment, the process finds old calls without being overloaded, and soon finishes them.
_STANDING = 3
#: Windows in which calls still queue although everything less important is refused, before critical calls are
#: refused too. Until then the cause is more likely an overshoot of the controller than the load.
_PATIENCE = 3
#: Factor by which the refused share shrinks in a window without a queue.
_RELEASE = 0.6


class QueueAdmission:
    """Decides whether a call is admitted, by its priority and the age of recent calls.

    Args:
        target: Age in seconds that a standing queue may have.
        clock: Monotonic seconds.
    """

    def __init__(self, target: float, clock: Clock) -> None:
        self._target, self._clock = target, clock
        self._ends = clock() + WINDOW
        self._arrived = [0] * len(Priority)
        self._least = float("inf")
        #: Seconds for which a call that is not served yet has queued; 0 if none is known.
        self.queueing = 0.0
        self._standing = 0
        #: Counts windows in which calls queued although only critical ones were admitted; see `_PATIENCE`.
        self._saturated = 0
        #: The share of all calls that is refused now.
        self.refused_share = 0.0
        #: The least age of the last window, in seconds.
        self.age = 0.0
        #: The share of each priority that is admitted now, and the fractions carried over between calls.
        self._shares = [1.0] * len(Priority)
        self._credits = [0.0] * len(Priority)

    def admit(self, priority: Priority, age: float | None) -> bool:
        """Return whether to admit a call that has queued for `age` seconds (None if unknown)."""
        now = self._clock()
        if now >= self._ends:
            self._decide(now)
        self._arrived[priority] += 1
        if age is not None:
            self.saw(age)
        if not self.refused_share:
            return True
        self._credits[priority] += self._shares[priority]
        if self._credits[priority] < 1.0:
            return False
        self._credits[priority] -= 1.0
        return True

    def saw(self, age: float) -> None:
        """Record that a call, or a probe of the queue, has queued for `age` seconds."""
        if age < self._least:
            self._least = age

    def _decide(self, now: float) -> None:
        """Update the refused share at the end of a window, and divide it among the priorities."""
        arrived = sum(self._arrived)
        before, self.age = self.age, self.queueing if self._least == float("inf") else self._least
        self._standing = self._standing + 1 if self.age > self._target else 0
        if not self.refused_share:
            before = 0.0  # all of the queue has grown without anything having been refused for it
        change = _ALPHA * (self.age - self._target) + _BETA * (self.age - before)
        share = self.refused_share + max(-_STEP, min(_STEP, change))
        if self.age < self._target / 2 and before < self._target / 2:
            share *= _RELEASE
        if not self.refused_share and self._standing < _STANDING:
            share = 0.0
        # Something is always admitted: its age tells when the queue is gone.
        self.refused_share = min(0.99, share) if share > 0.001 else 0.0
        self._divide(self.refused_share * arrived)
        self._arrived, self._least = [0] * len(Priority), float("inf")
        self._ends = now + WINDOW

    def _divide(self, refused: float) -> None:
        """Divide refusals among the priorities, the least important first, by their calls in the window."""
        lesser = sum(self._arrived[Priority.DEFAULT :])
        full = refused >= lesser and self.age > self._target
        self._saturated = min(2 * _PATIENCE, self._saturated + 1) if full else max(0, self._saturated - 1)
        for priority in reversed(Priority):
            count = self._arrived[priority]
            taken = min(refused, float(count))
            if priority is Priority.CRITICAL and self._saturated < _PATIENCE:
                taken = 0.0
            self._shares[priority] = 1.0 - taken / count if count else float(refused <= 0)
            refused -= taken
