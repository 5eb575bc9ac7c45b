"""Metrics of a web edge, under the name that OpenTelemetry's conventions give them in Prometheus.

https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
"""

from collections.abc import Iterable

from prometheus_client import Histogram, Metric

from grpcmesh.clock import Clock
from grpcmesh.telemetry.context import current_trace
from grpcmesh.telemetry.http import App, Message, Receive, Scope, Send

#: Upper bounds in seconds, as the conventions advise.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
#: Methods told apart (RFC 9110, RFC 5789); any other is `_OTHER`.
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})


class HttpMetrics:
    """`http_server_request_duration_seconds` by method, route and status; a source of `telemetry`.

    A page costs several calls, so a plain `prometheus_client` histogram is cheap enough here.
    """

    def __init__(self) -> None:
        self._seconds = Histogram(
            "http_server_request_duration_seconds",
            "Seconds from a request to the end of its answer.",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=BUCKETS,
            registry=None,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Takes a finished request in.

        Args:
            method: As it came.
            route: The pattern that matched, never the path; empty where none did.
            status: Of the answer; 0 where there was none.
            seconds: It took.
        """
        child = self._seconds.labels(method if method in METHODS else "_OTHER", route, str(status))
        trace = current_trace()
        sampled = trace is not None and trace.sampled
        child.observe(seconds, {"trace_id": trace.trace_id} if trace is not None and sampled else None)

    def collect(self) -> Iterable[Metric]:
        return self._seconds.collect()


class MetricsMiddleware:
    """Counts each request. Stands inside of `TraceMiddleware`, whose trace id it puts on the exemplars.

    Args:
        app: The application inside.
        metrics: Of the process.
        clock: Monotonic seconds.
    """

    def __init__(self, app: App, metrics: HttpMetrics, clock: Clock) -> None:
        self._app, self._metrics, self._clock = app, metrics, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = self._clock(), 0

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            route = getattr(scope.get("route"), "path", "")
            self._metrics.observe(scope["method"], route, status, self._clock() - started)
