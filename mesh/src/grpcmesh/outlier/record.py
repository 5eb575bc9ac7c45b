"""What the detector knows of one endpoint, as a state machine.

| state | event | next |
|---|---|---|
| ADMITTED | it is found to be an outlier | EJECTED, its multiplier grows by one |
| EJECTED | its ejection time is over | PROBING |
| PROBING | the probe is answered well | ADMITTED |
| PROBING | the probe fails | EJECTED, its multiplier grows by one |
| PROBING | the probe ends without an answer that says anything (cancelled) | PROBING, the next call probes |
"""

import enum


class State(enum.Enum):
    """Whether calls go to the endpoint."""

    ADMITTED = "admitted"
    EJECTED = "ejected"
    #: One call at a time finds out whether it works again.
    PROBING = "probing"


class Record:
    """Counts and state of one endpoint. Written by the detector only."""

    __slots__ = (
        "cause",
        "consecutive_failures",
        "failures",
        "in_flight",
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
        #: For logs and metrics: the address.
        self.name = name
        self.state = State.ADMITTED
        #: Of this interval.
        self.successes = self.failures = 0
        self.consecutive_failures = 0
        #: How many base ejection times the next ejection lasts, less one.
        self.multiplier = 0
        #: Monotonic seconds at which an ejection ends.
        self.returns_at = 0.0
        #: Why it was ejected last.
        self.cause = ""
        self.probe_under_way = False
        #: Monotonic seconds at which the last ejection ended: an attempt that began before is not the probe.
        self.probing_since = 0.0
        #: Attempts under way, and since when there were enough of them and none has been answered.
        self.in_flight = 0
        self.progress_at = 0.0

    @property
    def volume(self) -> int:
        """Attempts that ended in this interval."""
        return self.successes + self.failures

    def __repr__(self) -> str:
        return f"<{self.name} {self.state.value} {self.successes}+{self.failures} ×{self.multiplier}>"
