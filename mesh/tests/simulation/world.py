"""Virtual time, what is measured in it, and what may be switched on."""

import heapq
import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from grpcmesh.call import Kind, Method
from grpcmesh.config import RetryConfig
from grpcmesh.service_config import CircuitBreaker, HedgingPolicy, OutlierDetection, PolicyName
from grpcmesh.testing.clock import VirtualClock

METHOD = Method.parse("/mesh.testing.PingService/Ping", Kind.UNARY)
#: Seconds that a message takes.
WIRE = 0.0005
#: The zone of all clients.
HOME = "a"


class World:
    """A virtual clock and its scheduled events, which run in the order of their times."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock(0.0)
        self.rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Schedule an event `seconds` from now."""
        heapq.heappush(self._events, (self.clock() + seconds, next(self._numbers), event))

    def run(self, until: float) -> None:
        """Run all events up to this time."""
        while self._events and self._events[0][0] <= until:
            at, _, event = heapq.heappop(self._events)
            self.clock.advance(max(0.0, at - self.clock()))
            event()
        self.clock.advance(max(0.0, until - self.clock()))


@dataclass
class Settings:
    """The clients' settings. Each feature may be off."""

    policy: PolicyName = "round_robin"
    #: Of the policy, as a service config has them.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outlier_detection: OutlierDetection | None = None
    retry: RetryConfig = field(default_factory=RetryConfig)
    hedging: HedgingPolicy | None = None
    breaker: CircuitBreaker | None = None
    subset: int | None = 20
    #: Endpoints of this zone are preferred.
    zone: str = ""
    #: One call in ten is critical; whether servers know.
    priorities: bool = False
    #: So many keys, one of which each call has in the header `user`; 0: none.
    keys: int = 0
    timeout: float = 1.0


@dataclass
class Second:
    """The results of calls in one second."""

    calls: int = 0
    good: int = 0
    attempts: int = 0
    #: Of the attempts, those to endpoints of the zone `HOME`.
    near: int = 0
    #: Of the attempts, those to a server that has their key in its cache.
    hits: int = 0
    #: Of the calls, the critical ones, and of these the good ones.
    critical: int = 0
    critical_good: int = 0
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return a percentile of the latency of all calls, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
