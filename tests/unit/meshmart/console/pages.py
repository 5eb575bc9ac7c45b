"""Metrics pages and cluster states for the console's tests, in the form in which processes report them."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from meshmart.console.observer import Observer

#: The Unix time of monotonic 0.
EPOCH = 1_800_000_000.0


def replica(number: int, subnet: int = 1, **more: Any) -> dict[str, Any]:
    """A replica of `meshmart status --json`."""
    host = f"127.0.{subnet}.{number}"
    told = {
        "id": number,
        "address": host,
        "port": 50051,
        "pid": 100 * subnet + number,
        "ready": True,
        "restarts": 0,
        "metrics": f"http://{host}:9090/metrics",
        "health": f"{host}:50052",
    }
    return told | more


def status(**services: list[dict[str, Any]]) -> dict[str, Any]:
    """`meshmart status --json`."""
    return {"services": {name: {"port": 50051, "replicas": some} for name, some in services.items()}}


class Process:
    """The metrics of one process, made by the same client library as the real ones."""

    def __init__(self, started: float = 1.0) -> None:
        self.registry = CollectorRegistry()
        self._made: dict[str, Any] = {}
        self.gauge("process_start_time_seconds", started)
        self.gauge("mesh_serving", 1)

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Increase a counter; the name is without `_total`."""
        self._of(Counter, name, labels).inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self._of(Gauge, name, labels).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        self._of(Histogram, name, labels).observe(value)

    def serves(self, service: str, calls: int = 1, code: str = "OK", seconds: float = 0.01) -> None:
        """Serve calls of `ecommerce.SERVICE`."""
        about = {"grpc_type": "unary", "grpc_service": f"ecommerce.{service}", "grpc_method": "Get"}
        self.count("grpc_server_started", calls, **about)
        self.count("grpc_server_handled", calls, **about, grpc_code=code)
        for _ in range(calls):
            self.observe("grpc_server_handling_seconds", seconds, **about)

    def calls(
        self, target: str, service: str, calls: int = 1, code: str = "OK", endpoint: str = "127.0.1.1:50051"
    ) -> None:
        """Call `ecommerce.SERVICE` at an endpoint of a target."""
        about = {"grpc_type": "unary", "grpc_service": f"ecommerce.{service}", "grpc_method": "Get"}
        self.count("grpc_client_handled", calls, **about, grpc_code=code)
        for _ in range(calls):
            self.observe("grpc_client_handling_seconds", 0.02, **about)
        self.count("mesh_picks", calls, target=target, endpoint=endpoint)
        self.knows(target, endpoint)

    def knows(self, target: str, *endpoints: str) -> None:
        for endpoint in endpoints:
            self.gauge("mesh_endpoint_in_flight", 0, target=target, endpoint=endpoint)

    def certificate(self, serial: str, not_after: float = EPOCH + 3600, not_before: float = EPOCH) -> None:
        """Replace the certificate."""
        info = self._of(Gauge, "mesh_certificate_info", {"serial": "", "workload": ""}, whole=True)
        info.clear()
        info.labels(serial, "spiffe://x").set(1)
        self.gauge("mesh_certificate_not_before_timestamp_seconds", not_before)
        self.gauge("mesh_certificate_expiry_timestamp_seconds", not_after)

    def forget(self, name: str) -> None:
        """Drop every series of a metric with labels."""
        self._made[name].clear()

    def page(self) -> str:
        return generate_latest(self.registry).decode()

    def _of(self, kind: Any, name: str, labels: Mapping[str, str], whole: bool = False) -> Any:
        if name not in self._made:
            self._made[name] = kind(name, name, sorted(labels), registry=self.registry)
        metric = self._made[name]
        return metric.labels(**labels) if labels and not whole else metric


class Mesh:
    """An observer in virtual time, and the processes that it observes."""

    def __init__(self, **services: list[dict[str, Any]]) -> None:
        self.observer, self.now = Observer(), 0.0
        self.services = services
        self.processes: dict[str, Process] = {}

    def process(self, name: str) -> Process:
        return self.processes.setdefault(name, Process())

    def look(self, seconds: float = 5.0) -> Any:
        """Let time pass, read everything, and return the snapshot."""
        self.now += seconds
        self.observer.cluster(status(**self.services))
        for name, process in self.processes.items():
            self.observer.page(name, process.page(), self.now)
        return self.observer.snapshot(self.now, EPOCH + self.now)
