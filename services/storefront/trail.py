"""The calls behind a page: recorded while a request is answered, and shown on it."""

from contextvars import ContextVar
from dataclasses import dataclass, field

#: The most calls kept for one request. A page makes fewer; a runaway loop must not fill memory.
MAX_STEPS = 64


@dataclass(frozen=True, slots=True)
class Step:
    """One call that a page made."""

    target: str
    """The service's name, such as `product`."""
    method: str
    endpoint: str
    """The address that answered, such as `127.0.1.2:50051`; empty if none did."""
    replica: str
    """The replica's own name, such as `product-2`."""
    milliseconds: float
    attempts: int
    code: str


@dataclass(slots=True)
class Trail:
    """The calls of one request, in the order in which they ended."""

    steps: list[Step] = field(default_factory=list)
    trace_id: str = ""
    """The id of the request's trace; empty if it is not sampled."""

    def add(self, step: Step) -> None:
        if len(self.steps) < MAX_STEPS:
            self.steps.append(step)

    @property
    def milliseconds(self) -> float:
        """Return the sum of all calls' durations, including those that ran in parallel."""
        return sum(step.milliseconds for step in self.steps)


#: The trail of the request that this task answers.
current_trail: ContextVar[Trail | None] = ContextVar("current_trail", default=None)


def record(step: Step) -> None:
    """Add a call to the current request's trail, if there is a request."""
    trail = current_trail.get()
    if trail is not None:
        trail.add(step)
