"""gRPC's own per-call metrics, with the names of gRFC A66. They are counted only if they are exported (OTLP).

https://github.com/grpc/proposal/blob/master/A66-otel-stats.md. As in `metrics`, a call only updates plain
numbers, and everything runs on the event loop's thread. What differs from a native implementation stands in
mesh/docs/telemetry.md.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from grpcmesh.call import Attempt, AttemptLayer, ClientCall, ClientLayer, Method, ServerCall, ServerLayer
from grpcmesh.telemetry.metrics import MAX_METHODS

#: Upper bounds of the buckets that A66 gives: seconds, and bytes.
LATENCY = (
    0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008,
    0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4,
    0.5, 0.65, 0.8, 1, 2, 5, 10, 20, 50, 100,
)  # fmt: skip
SIZE = (
    0, 1024, 2048, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864, 268435456, 1073741824,
    4294967296,
)  # fmt: skip

#: The method of calls whose method is not generated, and of those beyond `MAX_METHODS`.
OTHER = "other"

Labels = dict[str, str]


class Distribution:
    """A histogram with explicit bounds, where a value belongs to the first bucket whose bound it reaches."""

    __slots__ = ("bounds", "buckets", "largest", "smallest", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.smallest, self.largest = float("inf"), float("-inf")

    def add(self, value: float) -> None:
        self.buckets[bisect_left(self.bounds, value)] += 1
        self.total += value
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value

    def copy(self) -> "Distribution":
        """Return a copy, which another thread may read."""
        made = Distribution(self.bounds)
        made.buckets, made.total = list(self.buckets), self.total
        made.smallest, made.largest = self.smallest, self.largest
        return made


class Family(NamedTuple):
    """One metric: its points by labels, which are counts or distributions."""

    name: str
    unit: str
    description: str
    points: list[tuple[Labels, int | Distribution]]


class _Outcome:
    """The distributions of the calls or attempts of one method that ended with one status."""

    __slots__ = ("duration", "received", "sent")

    def __init__(self) -> None:
        self.duration, self.sent, self.received = (
            Distribution(LATENCY),
            Distribution(SIZE),
            Distribution(SIZE),
        )


class _Series:
    """The numbers of one method."""

    __slots__ = ("labels", "outcomes", "started")

    def __init__(self, labels: Labels) -> None:
        self.labels, self.started = labels, 0
        self.outcomes: dict[str, _Outcome] = {}

    def end(self, status: str, seconds: float, sent: int, received: int) -> None:
        outcome = self.outcomes.get(status)
        if outcome is None:
            outcome = self.outcomes[status] = _Outcome()
        outcome.duration.add(seconds)
        outcome.sent.add(sent)
        outcome.received.add(received)

    def by_status(self) -> Iterator[tuple[Labels, _Outcome]]:
        for status, outcome in self.outcomes.items():
            yield self.labels | {"grpc.status": status}, outcome


class _Table:
    """The series of all methods, of one target or of this server.

    Args:
        known: Returns whether a path is recorded by its name.
        labels: The labels that all series have.
    """

    def __init__(self, known: Callable[[str], bool], labels: Labels) -> None:
        self._known, self._labels = known, labels
        self._series: dict[str, _Series] = {}
        self._other = _Series({"grpc.method": OTHER, **labels})

    def of(self, method: Method) -> _Series:
        return self._series.get(method.path) or self._open(method)

    def all(self) -> Iterator[_Series]:
        yield from self._series.values()
        if self._other.started or self._other.outcomes:
            yield self._other

    def _open(self, method: Method) -> _Series:
        if len(self._series) >= MAX_METHODS or not self._known(method.path):
            return self._other
        series = self._series[method.path] = _Series({"grpc.method": method.full_name, **self._labels})
        return series


class ServerCalls(ServerLayer):
    """Counts served calls."""

    observes = True

    def __init__(self, known: Callable[[str], bool]) -> None:
        self.table = _Table(known, {})

    def on_start(self, call: ServerCall) -> None:
        self.table.of(call.method).started += 1

    def on_end(self, call: ServerCall) -> None:
        seconds = call.ended - call.started
        self.table.of(call.method).end(call.code.name, seconds, call.sent_bytes, call.received_bytes)


class ClientCalls(ClientLayer):
    """Measures the calls of one target, each with all of its attempts."""

    def __init__(self, known: Callable[[str], bool], target: str) -> None:
        self.table = _Table(known, {"grpc.target": target})

    def on_end(self, call: ClientCall) -> None:
        self.table.of(call.method).end(call.code.name, call.ended - call.started, 0, 0)


class ClientAttempts(AttemptLayer):
    """Counts the attempts of one target."""

    def __init__(self, known: Callable[[str], bool], target: str) -> None:
        self.table = _Table(known, {"grpc.target": target})

    def on_start(self, attempt: Attempt) -> None:
        self.table.of(attempt.call.method).started += 1

    def on_end(self, attempt: Attempt) -> None:
        seconds, series = attempt.ended - attempt.started, self.table.of(attempt.call.method)
        series.end(attempt.code.name, seconds, attempt.call.sent_bytes, attempt.received_bytes)


class GrpcMetrics:
    """The A66 metrics of a process, and the layers that count them.

    Args:
        methods: Full names of methods that are recorded by their name although they are not generated, such
            as `mesh.testing.PingService/Ping`.
    """

    def __init__(self, methods: Iterable[str] = ()) -> None:
        self._also = frozenset(f"/{name}" for name in methods)
        self._served: set[str] = set()
        self._called: set[str] = set()
        self.server = ServerCalls(lambda path: path in self._served or path in self._also)
        self._clients: dict[str, tuple[ClientCalls, ClientAttempts]] = {}

    def serves(self, methods: Iterable[Method]) -> None:
        """Record these methods of the server by their names. Call it before they are called."""
        self._served |= {method.path for method in methods}

    def calls(self, method: Method) -> None:
        """Record a method by its name when it is called. Call it before that."""
        self._called.add(method.path)

    def client(self, target: str) -> tuple[ClientCalls, ClientAttempts]:
        """Return the layers of a target's channels. `target`: its URI, such as `dns:///product.shop.`."""
        if target not in self._clients:
            self._clients[target] = (ClientCalls(self._knows, target), ClientAttempts(self._knows, target))
        return self._clients[target]

    def read(self) -> list[Family]:
        """Return the metrics as they are now. Another thread may read the result."""
        calls = [series for layer, _ in self._clients.values() for series in layer.table.all()]
        attempts = [series for _, layer in self._clients.values() for series in layer.table.all()]
        served = list(self.server.table.all())
        return [
            _started("grpc.client.attempt.started", "{attempt}", "Attempts begun.", attempts),
            *_ended("grpc.client.attempt", "of attempts", attempts),
            next(_ended("grpc.client.call", "of calls", calls)),  # only how long they took
            _started("grpc.server.call.started", "{call}", "Calls begun.", served),
            *_ended("grpc.server.call", "of calls", served),
        ]

    def _knows(self, path: str) -> bool:
        return path in self._called or path in self._also


def _started(name: str, unit: str, description: str, all_series: Iterable[_Series]) -> Family:
    return Family(name, unit, description, [(series.labels, series.started) for series in all_series])


def _ended(prefix: str, of: str, all_series: Iterable[_Series]) -> Iterator[Family]:
    """Yield the three distributions, that of the durations first."""
    ended = [point for series in all_series for point in series.by_status()]
    for name, unit, description, read in _DISTRIBUTIONS:
        points: list[tuple[Labels, int | Distribution]] = [(x, read(outcome).copy()) for x, outcome in ended]
        yield Family(f"{prefix}.{name}", unit, f"{description} {of}.", points)


_DISTRIBUTIONS: tuple[tuple[str, str, str, Callable[[_Outcome], Distribution]], ...] = (
    ("duration", "s", "Durations", lambda outcome: outcome.duration),
    ("sent_total_compressed_message_size", "By", "Bytes sent", lambda outcome: outcome.sent),
    ("rcvd_total_compressed_message_size", "By", "Bytes received", lambda outcome: outcome.received),
)
