"""What the console shows: services, their replicas, and the calls between them at one time."""

from dataclasses import dataclass, field
from enum import StrEnum

from meshmart.console.codes import Code


class State(StrEnum):
    """The state of a replica, as the map shows it."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    EJECTED = "ejected"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls, over the last seconds and in all. Rates are per second."""

    rate: float = 0.0
    failing: float = 0.0
    """The rate of calls that failed by a fault of the server."""
    p99: float | None = None
    """Seconds; of unary calls. None if there were none."""
    calls: float = 0
    """Finished calls since the processes started."""
    failures: float = 0
    codes: tuple[Code, ...] = ()
    """What the calls ended with."""

    @property
    def success(self) -> float | None:
        """Return the share of calls that did not fail; None if there were no calls."""
        return None if self.rate <= 0 else max(0.0, 1 - self.failing / self.rate)


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate that a process uses."""

    serial: str
    not_before: float
    not_after: float
    """Both in Unix seconds."""
    renewal: float | None = None
    """When it is renewed next, in Unix seconds; None if that is not known."""


@dataclass(frozen=True, slots=True)
class Outbox:
    """Events that a service has yet to deliver."""

    pending: int
    oldest: float
    """The age of the oldest one in seconds."""
    dead: int
    """Events that their receiver refused for good."""


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One replica."""

    id: int
    name: str
    address: str
    state: State
    note: str = ""
    """Why it is in this state, in a few words."""
    ready: bool = False
    incarnation: str = ""
    restarts: int = 0
    ejected_by: int = 0
    callers: int = 0
    """The number of processes that call it."""
    traffic: Traffic = Traffic()
    share: float | None = None
    """Its share of the service's calls; None if there were none."""
    shed: float = 0.0
    """Calls per second that admission refused."""
    in_flight: int = 0
    limit: int | None = None
    faults: int = 0
    """Injected faults that are active."""
    certificate: Certificate | None = None
    age: float | None = None
    """Seconds since its metrics were read; None if they never were."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service."""

    name: str
    replicas: tuple[ReplicaView, ...] = ()
    traffic: Traffic = Traffic()
    outbox: Outbox | None = None
    certificates: tuple[Certificate, ...] = ()
    """Those that its replicas use, each once; the one that ends first before the others."""

    @property
    def shed(self) -> float:
        return sum(r.shed for r in self.replicas)


@dataclass(frozen=True, slots=True)
class EdgeView:
    """The calls of one service to another, as the caller's processes count them."""

    source: str
    target: str
    traffic: Traffic = Traffic()
    callers: int = 0
    retries: float = 0.0
    hedges: float = 0.0
    """Both per second. Hedges are among the retries."""
    budget_spent: int = 0
    budget_allowed: int = 0
    """Retries of the present window and how many are allowed, over all callers."""
    budget_exhausted: float = 0.0
    breaker_in_flight: int = 0
    breaker_limit: int = 0
    breaker_refused: float = 0.0
    waiting: int = 0
    failing: bool = False
    """Whether so many calls fail that the map shows the edge in red."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The mesh at one time."""

    at: float = 0.0
    """Unix seconds."""
    services: tuple[ServiceView, ...] = ()
    edges: tuple[EdgeView, ...] = ()
    problem: str = ""
    """Why the cluster itself cannot be read; empty if it can."""


class Kind(StrEnum):
    """What an event means to the reader."""

    GOOD = "good"
    BAD = "bad"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the mesh, in plain words."""

    kind: Kind
    text: str
    service: str
    about: tuple[str, ...] = field(default=())
    """What the map highlights: a replica's name, or an edge's two services."""
