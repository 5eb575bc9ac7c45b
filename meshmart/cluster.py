"""The Cluster port: what the tour and other verbs need of whatever runs the services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from local.catalog import OPERATOR

if TYPE_CHECKING:
    from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Replica:
    """One replica, as it was when asked."""

    id: int
    """Its number within the service."""
    name: str
    """How it calls itself, in logs and in the answers' metadata: `product-1`, or its pod's name."""
    host: str
    """Its address; empty where it has none yet."""
    port: int
    server_name: str
    """The DNS name of the service, which its certificate carries."""
    incarnation: str
    """Another one after each start: the process id, or the pod's uid. Empty where nothing runs just now."""
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

    @property
    def certificates(self) -> Path:
        """Holds a directory for each workload whose certificate the command may present: `client` (the
        operator) and `outsider` (a member that may call nothing) at least."""
        ...

    async def scale(self, service: str, replicas: int) -> None:
        """Returns when the new replicas are ready, or the surplus ones drained."""

    async def scale_for_now(self, service: str, replicas: int) -> None:
        """Like `scale`, until `restore`, or until this process has gone: see `meshmart.leases`."""

    async def restore(self, service: str) -> None:
        """As many replicas as there were before `scale_for_now`; returns when they are ready, or drained."""

    async def kill(self, service: str, replica: int) -> str:
        """kill -9; returns when the process is gone, and what it was: `process 4242`, or the pod's name."""
        ...

    async def pause(self, service: str, replica: int) -> None:
        """Makes a replica hang until `resume`, or until this process has gone: see `meshmart.leases`.

        It takes connections and calls, and answers none. It stays listed."""

    async def resume(self, service: str, replica: int) -> None:
        """Lets it go on."""

    async def restart(self, service: str) -> None:
        """Replaces every replica, one after another; returns when the last is ready."""

    async def rotate(self) -> Mapping[str, str]:
        """Renews every certificate; returns when the replicas present the new ones: their serials, in hex,
        by workload."""
        ...

    async def endpoints(self, service: str) -> list[Replica]:
        """The replicas now, ready or not."""
        ...

    async def metrics(self, service: str, replica: int) -> "Sequence[Sample]":
        """Every sample of a replica's metrics page now."""
        ...

    async def environment(self, identity: str = OPERATOR) -> Mapping[str, str]:
        """`MESH_*` for a process that joins as a workload that has a directory in `certificates`."""
        ...

    async def dns_ttl(self) -> float:
        """For how many seconds an answer of the cluster's DNS may be used."""
        ...

    async def status(self) -> dict[str, Any]:
        """What `meshmart status --json` prints."""
        ...
