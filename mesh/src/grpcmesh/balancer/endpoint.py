"""One replica as the balancer sees it: plain counters and a state, written by who carries its calls."""

import enum
from collections import deque
from typing import Any

from grpcmesh.balancer.orca import LoadReport

#: How load reports come: with the answers of calls, or out of band.
SOURCES = ("call", "stream")
#: More quick failures than this within one typical answer do not make an endpoint look any busier.
_MAX_LINGERING = 1024


class State(enum.Enum):
    """Only a READY endpoint is picked."""

    CONNECTING = "connecting"
    READY = "ready"
    #: Connected, and says that it does not serve.
    UNHEALTHY = "unhealthy"
    #: Cannot be connected to; it is being tried again.
    FAILED = "failed"
    #: No longer resolved; it finishes its calls.
    DRAINING = "draining"


class Endpoint:
    """One address of a target.

    Args:
        address: `127.0.1.1:50051`.
        zone: Where it runs; empty: unknown.
    """

    __slots__ = (
        "address",
        "credit",
        "error",
        "failures",
        "in_flight",
        "latency",
        "latency_at",
        "lingering",
        "load",
        "load_at",
        "load_since",
        "not_serving",
        "out_of_band",
        "picks",
        "ready_since",
        "state",
        "successes",
        "transport",
        "zone",
    )

    def __init__(self, address: str, zone: str = "") -> None:
        self.address, self.zone = address, zone
        self.state = State.CONNECTING
        #: Services that it says it does not serve, while the process as a whole does.
        self.not_serving: frozenset[str] = frozenset()
        #: Why it is not ready.
        self.error = ""
        #: What carries its calls; the balancer does not look at it.
        self.transport: Any = None
        self.in_flight = 0
        #: When each place in flight ends that a quick failure still holds; see `TwoChoices`.
        self.lingering: deque[float] = deque(maxlen=_MAX_LINGERING)
        self.picks = 0
        self.successes = 0
        #: By the name of the status code.
        self.failures: dict[str, int] = {}
        #: Monotonic seconds at which it came into rotation.
        self.ready_since = 0.0
        #: Round robin's share of a pick saved up while it warms up.
        self.credit = 0.0
        #: Peak EWMA of latency (s), and when it was last moved; None before the first answer.
        self.latency: float | None = None
        self.latency_at = 0.0
        #: The last load report, when it came, and since when they have been coming.
        self.load: LoadReport | None = None
        self.load_at = 0.0
        self.load_since = 0.0
        #: Whether reports come on a stream: then those of single calls are left aside.
        self.out_of_band = False

    def failed(self, code: str) -> None:
        """Counts a call that ended with this status code."""
        self.failures[code] = self.failures.get(code, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """For the admin page."""
        return {
            "address": self.address,
            "zone": self.zone,
            "state": self.state.value,
            "not_serving": ", ".join(sorted(self.not_serving)),
            "error": self.error,
            "in_flight": self.in_flight,
            "picks": self.picks,
            "successes": self.successes,
            "failures": dict(self.failures),
            "load": self._load(),
        }

    def _load(self) -> dict[str, Any]:
        if self.load is None:
            return {}
        return {
            "utilization": self.load.utilization,
            "calls_per_second": self.load.qps,
            "source": SOURCES[self.out_of_band],
        }

    def __repr__(self) -> str:
        why = f" ({self.error})" if self.error and self.state is not State.READY else ""
        return f"<{self.address} {self.state.value}{why} in_flight={self.in_flight} picks={self.picks}>"
