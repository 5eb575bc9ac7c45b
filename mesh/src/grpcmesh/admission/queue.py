"""Admission by the age of calls: how long each has queued in this process before its handler runs.

A server whose handlers burn CPU has its queue in gRPC's core, where neither handler latency nor the number
of running handlers shows it. The age does. Calls are refused by priority, the least important first, as in
DAGOR (Zhou et al., "Overload Control for Scaling WeChat Microservices", https://arxiv.org/abs/1806.04075).
How many is what PIE (RFC 8033) computes from the age and its trend; it needs to know neither the rate of
calls nor what they cost. That there is a standing queue, and not a burst, is told as CoDel does (RFC 8289):
by the least age in a window.
"""

from grpcmesh.admission.priority import Priority
from grpcmesh.clock import Clock

#: Seconds of a window: long enough to hold some calls, short enough to end an overload within a second.
WINDOW = 0.1
#: PIE's gains, found for such a window by simulation: by how much the refused share changes for each second
#: of age beyond the target, and of growth.
_ALPHA, _BETA = 0.125, 2.0
#: A change of the refused share is at most this.
_STEP = 0.5
#: Windows in a row with a queue before anything is refused for it: a process that the machine has not run for
#: a moment finds calls that are old, and is through with them at once.
_STANDING = 3
#: Windows in which everything less important has to be refused, and calls queue all the same, before
#: critical calls are refused for it, too: until then what refuses too much is the controller, not the load.
_PATIENCE = 3
#: Without a queue, what is left of the refused share after a window.
_RELEASE = 0.6


class QueueAdmission:
    """Decides whether a call is admitted, by its priority.

    Args:
        target: Age in seconds that a standing queue may have.
        clock: Monotonic seconds.
    """

    def __init__(self, target: float, clock: Clock) -> None:
        self._target, self._clock = target, clock
        self._ends = clock() + WINDOW
        self._arrived = [0] * len(Priority)
        self._least = float("inf")
        #: At least so long queues a call that has not been served yet; 0: none is known.
        self.queueing = 0.0
        self._standing = 0
        #: Windows in which no call but critical ones was admitted, and calls queued all the same.
        self._saturated = 0
        #: The share of all calls that is refused now.
        self.refused_share = 0.0
        #: The least age of the last window, in seconds.
        self.age = 0.0
        #: The share of each priority that is admitted now, and what is left over of the last decisions.
        self._shares = [1.0] * len(Priority)
        self._credits = [0.0] * len(Priority)

    def admit(self, priority: Priority, age: float | None) -> bool:
        """Decide on a call that has queued for `age` seconds; None: nobody knows."""
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
        """A call, or a probe of the queue, has queued for so many seconds."""
        if age < self._least:
            self._least = age

    def _decide(self, now: float) -> None:
        """Move the refused share, and divide it among the priorities."""
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
        """Refuse the least important first, as many as came of them in the last window."""
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
