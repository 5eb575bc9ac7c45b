"""The detector's record of one endpoint, a state machine.

| state | event | next |
|---|---|---|
| ADMITTED | it is found to be an outlier | EJECTED, its multiplier grows by one |
| EJECTED | its ejection time is over | PROBING |
| PROBING | the probe succeeds | ADMITTED |
| PROBING | the probe fails | EJECTED, its multiplier grows by one |
| PROBING | the probe ends without a verdict (cancelled) | PROBING, the next call probes |
"""

import enum


class State(enum.Enum):
    """The state of an endpoint: whether calls go to it."""

    ADMITTED = "admitted"
    EJECTED = "ejected"
    #: One call at a time probes whether it works again.
    PROBING = "probing"


class Record:
    """Counts and state of one endpoint. Written by the detector only."""

    __slots__ = (
        "cause",
        "consecutive_failures",
        "ejected_at",
        "failures",
        "in_flight",
        "loss_counted",
        "lost_at",
        "multiplier",
        "name",
        "probe_under_way",
        "probing_since",
        "progress_at",
        "returns_at",
        "state",
        "successes",
    )

    def __init__(self, name: str) -> None:
        #: Address of the endpoint, for logs and metrics.
        self.name = name
        self.state = State.ADMITTED
        #: Attempts of this interval.
        self.successes = self.failures = 0
        self.consecutive_failures = 0
        #: The next ejection lasts `multiplier` + 1 base ejection times.
        self.multiplier = 0
        #: Monotonic seconds at which an ejection began and ends. Attempts that began before it are no probes.
        self.ejected_at = self.returns_at = 0.0
        #: Cause of its last ejection.
        self.cause = ""
        self.probe_under_way = False
        #: Monotonic seconds at which the last ejection ended.
        self.probing_since = 0.0
        #: Unary attempts under way, and the clock time from which a stall is measured.
        self.in_flight = 0
        self.progress_at = 0.0

        #: Monotonic seconds of the last loss of its connection, and whether a failure was counted for it.
        self.lost_at = float("-inf")
        self.loss_counted = True

    def lost(self, now: float) -> None:
        """Note that the connection was lost at `now` (s), so that all its attempts fail together."""
        self.lost_at, self.loss_counted = now, False

    def told_already(self, started: float) -> bool:
        """Return whether the failure of an attempt is of a lost connection that has been counted already.

        A lost connection counts as one failure, however many attempts it ends.

        Args:
            started: Clock time (s) at which the attempt began.
        """
        if started > self.lost_at:
            return False
        counted, self.loss_counted = self.loss_counted, True
        return counted

    @property
    def volume(self) -> int:
        """Return the number of attempts that ended in this interval."""
        return self.successes + self.failures

    def __repr__(self) -> str:
        return f"<{self.name} {self.state.value} {self.successes}+{self.failures} ×{self.multiplier}>"
