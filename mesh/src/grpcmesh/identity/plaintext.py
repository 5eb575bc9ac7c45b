"""Plaintext mode, for development: when it is refused, and how it shows."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.identity.files import located

#: The log line at the start.
WARNING = (
    "PLAINTEXT: connections are neither encrypted nor authenticated, and every caller may call every method; "
    "for development only"
)


def refuse_beside_certificates(config: MeshConfig) -> None:
    """Refuse plaintext mode in a process that has certificates of the mesh: it was meant to use them.

    Raises:
        ConfigError: There are files of an identity, or a SPIFFE Workload API. The error names it.
    """
    if socket := config.identity.endpoint_socket:
        raise ConfigError(
            [f"MESH_PLAINTEXT: refused, because there is a SPIFFE Workload API ({socket}): unset it"]
        )
    for name in ("tls.crt", "tls.key", "ca.crt"):
        path = located(config.identity, name)
        if path.exists():
            raise ConfigError(
                [f"MESH_PLAINTEXT: refused, because there are certificates of the mesh ({path}): unset it"]
            )


class Plaintext:
    """The metric of the mode, for alerts."""

    def __init__(self, on: bool) -> None:
        self._on = on

    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("mesh_plaintext", "1 while connections are plaintext.", value=int(self._on))
