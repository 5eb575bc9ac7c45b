"""RPC metrics under the names that public dashboards use (those of go-grpc-middleware).

A call only updates plain integers, because `.labels().inc()` of `prometheus_client` costs about a quarter of
a whole call. The metric families are built at scrape time. Everything runs on the event loop's thread.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator

import grpc
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar

from grpcmesh.call import ClientCall, ClientLayer, Kind, Method, ServerCall, ServerLayer

#: Upper bounds of the buckets in seconds, from below a loopback call to above the default deadline.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LE = (*map(str, BUCKETS), "+Inf")
_LABELS = ("grpc_type", "grpc_service", "grpc_method")

#: The most methods with series of their own. Further ones count as `unknown`, so that a peer cannot use up
#: our memory.
MAX_METHODS = 512

_UNKNOWN = "unknown"

#: `grpc_code` values: `NOT_FOUND` is `NotFound`; OK stays as it is.
CODE_NAMES = {
    code.name: "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")
    for code in grpc.StatusCode
}

#: Codes for which the callee, not the caller, is at fault. Error rates of dashboards and alerts count them.
#: Each is exposed with 0 from the start, because `rate()` would miss the first burst of errors otherwise.
FAULTS = ("UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
_NO_FAULTS = dict.fromkeys(FAULTS, 0)

_Call = ServerCall | ClientCall


class Series:
    """The counters of one method. They only grow."""

    __slots__ = (
        "buckets", "codes", "exemplars", "labels", "live", "ok", "received", "seconds", "sent", "started",
    )  # fmt: skip

    def __init__(self, labels: tuple[str, str, str]) -> None:
        self.labels = labels
        self.started = self.received = self.sent = self.ok = 0
        #: Failed calls by code name: hashing an enum member costs more than the rest of `end`.
        self.codes: dict[str, int] = {}
        self.seconds = 0.0
        self.buckets = [0] * len(_LE)
        self.exemplars: list[Exemplar | None] = [None] * len(_LE)
        #: Streams under way. Their messages are counted before they end.
        self.live: set[_Call] = set()

    def end(self, call: _Call) -> None:
        """Count a finished call."""
        seconds = call.ended - call.started
        bucket = bisect_left(BUCKETS, seconds)
        self.buckets[bucket] += 1
        self.seconds += seconds
        self.received += call.received
        self.sent += call.sent
        if call.code is grpc.StatusCode.OK:
            self.ok += 1
        else:
            self.codes[call.code.name] = self.codes.get(call.code.name, 0) + 1
        trace = call.trace
        if trace is not None and trace.sampled:
            self.exemplars[bucket] = Exemplar({"trace_id": trace.trace_id}, seconds, time.time())

    def handled(self) -> Iterator[tuple[str, int]]:
        """Yield the number of finished calls for each `grpc_code`."""
        yield "OK", self.ok
        for name, count in (_NO_FAULTS | self.codes).items():
            yield CODE_NAMES[name], count

    def cumulative(self) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
        """Yield the buckets in Prometheus's form, where each includes all smaller ones."""
        total = 0
        for le, count, exemplar in zip(_LE, self.buckets, self.exemplars, strict=True):
            total += count
            yield (le, total, exemplar) if exemplar else (le, total)


class RpcMetrics:
    """The metrics of all methods that a process serves, or of all that it calls.

    Args:
        side: `server` or `client`, as in the metric names.
    """

    def __init__(self, side: str) -> None:
        self._prefix = f"grpc_{side}"
        self._series: dict[str, Series] = {}
        self._unknown = Series((Kind.UNARY.value, _UNKNOWN, _UNKNOWN))

    def declare(self, methods: Iterable[Method]) -> None:
        """Expose methods with zeros before their first call, so that `rate()` includes that call."""
        for method in methods:
            self.series(method)

    def series(self, method: Method) -> Series:
        """Return the series of a method. Create it if need be."""
        series = self._series.get(method.path)
        return series if series is not None else self._open(method)

    def _open(self, method: Method) -> Series:
        if len(self._series) >= MAX_METHODS or method.service in ("", _UNKNOWN) or not method.name:
            return self._unknown
        series = Series((method.kind.value, method.service, method.name))
        self._series[method.path] = series
        return series

    def on_start(self, call: _Call) -> None:
        """Count a call that begins."""
        series = self._series.get(call.method.path) or self._open(call.method)
        series.started += 1
        if call.method.kind is not Kind.UNARY:
            series.live.add(call)

    def on_end(self, call: _Call) -> None:
        """Count a call that has ended."""
        series = self._series.get(call.method.path, self._unknown)
        if series.live:
            series.live.discard(call)
        series.end(call)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families. `unknown` is included once it has calls."""
        shown = [*self._series.values(), *([self._unknown] if self._unknown.started else [])]
        yield self._counter("started", "Calls begun.", ((s, s.started) for s in shown))
        yield self._handled(shown)
        yield self._counter("msg_received", "Messages received.", ((s, _live(s, "received")) for s in shown))
        yield self._counter("msg_sent", "Messages sent.", ((s, _live(s, "sent")) for s in shown))
        yield self._histogram(shown)

    def _counter(self, name: str, text: str, values: Iterable[tuple[Series, int]]) -> Metric:
        family = CounterMetricFamily(f"{self._prefix}_{name}", text, labels=_LABELS)
        for series, value in values:
            family.add_metric(series.labels, value)
        return family

    def _handled(self, shown: Iterable[Series]) -> Metric:
        labels = (*_LABELS, "grpc_code")
        family = CounterMetricFamily(f"{self._prefix}_handled", "Calls finished, by code.", labels=labels)
        for series in shown:
            for code, count in series.handled():
                family.add_metric((*series.labels, code), count)
        return family

    def _histogram(self, shown: Iterable[Series]) -> Metric:
        text = "Seconds from the start of a call to its end."
        family = HistogramMetricFamily(f"{self._prefix}_handling_seconds", text, labels=_LABELS)
        for series in shown:
            family.add_metric(series.labels, list(series.cumulative()), series.seconds)
        return family


def _live(series: Series, attribute: str) -> int:
    return int(getattr(series, attribute) + sum(getattr(call, attribute) for call in series.live))


class ServerMetrics(RpcMetrics, ServerLayer):
    """The layer for `grpc_server_*`. It runs inside tracing, whose trace id goes into the exemplars."""

    observes = True

    def __init__(self) -> None:
        super().__init__("server")


class ClientMetrics(RpcMetrics, ClientLayer):
    """The layer for `grpc_client_*`. A logical call counts once, however many attempts it has."""

    def __init__(self) -> None:
        super().__init__("client")
