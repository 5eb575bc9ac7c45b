"""The Cluster port: what the tour and other programs need of whatever runs the services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Replica:
    """One replica, as it was when asked."""

    id: int
    """Its number within the service."""
    host: str
    port: int
    pid: int | None
    """None where it has no process just now, or the cluster does not tell."""
    ready: bool
    restarts: int
    metrics: str
    """Address of its Prometheus page."""

    @property
    def address(self) -> str:
        """`127.0.1.1:50051`, as a call's `endpoint` says it."""
        return f"{self.host}:{self.port}"


class Cluster(Protocol):
    """Runs the services. An operation returns when it is done, and raises ClusterError when it cannot be."""

    async def scale(self, service: str, replicas: int) -> None:
        """Returns when the new replicas are ready, or the surplus ones drained."""

    async def kill(self, service: str, replica: int) -> None:
        """kill -9; returns when the process is gone."""

    async def pause(self, service: str, replica: int) -> None:
        """Makes a replica hang: it takes connections and calls, and answers none. It stays listed."""

    async def resume(self, service: str, replica: int) -> None:
        """Lets it go on."""

    async def restart(self, service: str) -> None:
        """Replaces every replica, one after another; returns when the last is ready."""

    async def rotate(self) -> None:
        """Renews every certificate; returns when the replicas present the new ones."""

    async def endpoints(self, service: str) -> list[Replica]:
        """The replicas now, ready or not."""
        ...

    async def metrics(self, service: str, replica: int) -> Sequence[Sample]:
        """Every sample of a replica's metrics page now."""
        ...

    async def environment(self) -> Mapping[str, str]:
        """`MESH_*` for a process that joins as the operator."""
        ...
