"""What the export of spans and that of metrics over OTLP share: the channel, the resource, the outcome."""

from collections.abc import Callable, Iterator

import grpc
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from prometheus_client.core import CounterMetricFamily, Metric

from grpcmesh.config import MeshConfig
from grpcmesh.telemetry.otlp_endpoint import address_of

#: Seconds that one export may take.
EXPORT_TIMEOUT = 2.0


def channel_to(endpoint: str) -> grpc.Channel:
    """Return a channel to `http://host:port` (no TLS), `https://host:port`, or `host:port` (no TLS)."""
    address, is_secure = address_of(endpoint)
    # A pool of its own: this channel must share no connection or backoff with the mesh's.
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    if is_secure:
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(), options)
    return grpc.insecure_channel(address, options)


def reason_of(error: grpc.RpcError) -> str:
    """Return the name of the code with which an export failed."""
    code = getattr(error, "code", None)
    return code().name if code else type(error).__name__


def resource_of(config: MeshConfig) -> Resource:
    """Return the resource of this process, with the attributes in OTEL_RESOURCE_ATTRIBUTES."""
    ours = {
        "service.name": config.service,
        "service.namespace": config.namespace,
        "service.instance.id": config.replica or config.address,
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
    }
    # Not Resource.create(): it scans every installed package for detectors.
    return OTELResourceDetector().detect().merge(Resource(ours))


class Outcomes:
    """Counts what was exported, and tells when exporting begins to fail and works again.

    Args:
        name: Name of the metric, such as `mesh_spans_exported`.
        text: Its description.
        on_change: Called with the reason when exporting begins to fail, and with None when it works again.
    """

    def __init__(self, name: str, text: str, on_change: Callable[[str | None], None]) -> None:
        self._name, self._text, self._on_change = name, text, on_change
        self._failing: str | None = None
        self.exported = self.failed = 0

    def add(self, count: int, reason: str | None) -> None:
        """Count an export. `reason`: why it failed; None if it did not."""
        if (reason is None) != (self._failing is None):
            self._on_change(reason)
        self._failing = reason
        if reason is None:
            self.exported += count
        else:
            self.failed += count

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._text, labels=("outcome",))
        family.add_metric(("ok",), self.exported)
        family.add_metric(("failed",), self.failed)
        yield family
