"""Metrics of an HTTP server, with the Prometheus name of OpenTelemetry's conventions.

https://opentelemetry.io/docs/specs/semconv/http/http-metrics/#metric-httpserverrequestduration
"""

from collections.abc import Iterable

from prometheus_client import Histogram, Metric

from grpcmesh.clock import Clock
from grpcmesh.telemetry.context import current_trace
from grpcmesh.telemetry.http import METHODS, App, Message, Receive, Scope, Send
from grpcmesh.telemetry.tracing import OTHER

#: Upper bounds of the buckets in seconds, as the conventions advise.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class HttpMetrics:
    """The histogram `http_server_request_duration_seconds` by method, route and status.

    It is a source for `Telemetry.add`.

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
        """Count a finished request.

        Args:
            method: The request's method as it was sent.
            route: The pattern of the matching route, never the path; empty if none matched.
            status: Status of the response; 0 if there was none.
            seconds: Duration of the request in seconds.
        """
        child = self._seconds.labels(method if method in METHODS else OTHER, route, str(status))
        trace = current_trace()
        sampled = trace is not None and trace.sampled
        child.observe(seconds, {"trace_id": trace.trace_id} if trace is not None and sampled else None)

    def collect(self) -> Iterable[Metric]:
        return self._seconds.collect()


class MetricsMiddleware:
    """Measures each request. Put it inside `TraceMiddleware`, whose trace id goes into the exemplars.

    Args:
        app: The wrapped application.
        metrics: The metrics of the process.
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
