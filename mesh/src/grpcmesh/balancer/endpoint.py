"""One replica as the balancer sees it: a state and plain counters, which the client's other parts write."""

import enum
from collections import deque
from typing import Any

from grpcmesh.balancer.orca import LoadReport

#: Sources of load reports: trailing metadata of calls, or the out-of-band stream.
SOURCES = ("call", "stream")
#: The most failed attempts that count as in flight at one endpoint after they have ended (see `TwoChoices`).
_MAX_LINGERING = 1024


class State(enum.Enum):
    """The state of an endpoint. Only a READY endpoint is picked."""

    CONNECTING = "connecting"
    READY = "ready"
    #: Connected, but its server says that it does not serve.
    UNHEALTHY = "unhealthy"
    #: Cannot be connected to; connecting is retried.
    FAILED = "failed"
    #: No longer resolved; its calls under way may finish.
    DRAINING = "draining"


class Endpoint:
    """One address of a target.

    Args:
        address: Host and port, such as `127.0.1.1:50051`.
        zone: The zone it runs in; empty if unknown.
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
        #: Services that the server says it does not serve although the process as a whole serves.
        self.not_serving: frozenset[str] = frozenset()
        #: Why the endpoint is not ready.
        self.error = ""
        #: The client's connection for its calls. The balancer does not use it.
        self.transport: Any = None
        self.in_flight = 0
        #: Clock times until which failed attempts still count as in flight; see `TwoChoices`.
        self.lingering: deque[float] = deque(maxlen=_MAX_LINGERING)
        self.picks = 0
        self.successes = 0
        #: Failed attempts by the name of the status code.
        self.failures: dict[str, int] = {}
        #: Monotonic seconds at which it became ready last.
        self.ready_since = 0.0
        #: The fraction of a turn that it has saved up in round robin while it warms up.
        self.credit = 0.0
        #: Peak EWMA of latency (s), and when it was last updated; None before its first value.
        self.latency: float | None = None
        self.latency_at = 0.0
        #: The last load report, when it arrived, and when the current run of reports began.
        self.load: LoadReport | None = None
        self.load_at = 0.0
        self.load_since = 0.0
        #: Whether reports come on a stream. If so, reports in trailing metadata are ignored.
        self.out_of_band = False

    def failed(self, code: str) -> None:
        """Count an attempt that ended with this status code."""
        self.failures[code] = self.failures.get(code, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        """Return the endpoint's state for the admin page."""
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
