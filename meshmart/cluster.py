"""The Cluster port: what the tour and other verbs need of the system that runs the services."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from local.catalog import OPERATOR
from local.errors import ClusterError
from meshmart.leases import Leases

if TYPE_CHECKING:
    from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Replica:
    """The state of one replica at the time of the query."""

    id: int
    """Its number within the service."""
    name: str
    """Its own name, in logs and in the answers' metadata: `product-1`, or its pod's name."""
    host: str
    """Its address; empty if it has none yet."""
    port: int
    server_name: str
    """The DNS name of the service, which its certificate carries."""
    incarnation: str
    """Changes with each start: the process id, or the pod's uid. Empty if nothing runs now."""
    ready: bool
    restarts: int
    metrics: str
    """The URL of its Prometheus page."""

    @property
    def address(self) -> str:
        """Return the address in the form of a call's `endpoint`, such as `127.0.1.1:50051`."""
        return f"{self.host}:{self.port}"


class Cluster(Protocol):
    """Port: runs the services.

    An operation returns when it is done, and raises ClusterError if it cannot be done.
    """

    @property
    def certificates(self) -> Path:
        """Return the directory with a subdirectory for each workload whose certificate the command may
        present.

        These are at least `client` (the operator) and `outsider` (a member that may call nothing).
        """
        ...

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Keep other commands from playing scenes until the end of the block, or until this process has
        ended: what one scene disturbs, another one would measure.

        Raises ClusterError if another command plays. On Kubernetes one that ends is waited for.
        """
        ...

    @property
    def leases(self) -> Leases:
        """Return the leases of `pause` (named `SERVICE/REPLICA`) and `scale_for_now` (named `SERVICE`)."""
        ...

    async def scale(self, service: str, replicas: int) -> None:
        """Set the number of replicas. Returns when the new ones are ready, or the surplus ones drained."""

    async def scale_for_now(self, service: str, replicas: int) -> None:
        """Like `scale`, but only until `restore` or until this process has ended: see `meshmart.leases`."""

    async def restore(self, service: str) -> None:
        """Restore the number of replicas from before `scale_for_now`.

        Returns when they are ready, or drained.
        """

    async def kill(self, service: str, replica: int) -> str:
        """Kill a replica (kill -9).

        Returns when it is gone, with its description: `process 4242`, or the pod's name.
        """
        ...

    async def pause(self, service: str, replica: int) -> None:
        """Make a replica hang until `resume`, or until this process has ended: see `meshmart.leases`.

        It accepts connections and calls, but answers none. It stays in DNS.
        """

    async def resume(self, service: str, replica: int) -> None:
        """Resume a paused replica."""

    async def restart(self, service: str) -> None:
        """Replace every replica, one after another. Returns when the last one is ready."""

    async def rotate(self) -> Mapping[str, str]:
        """Renew every certificate.

        Returns when the replicas present the new ones: their serials, in hex, by workload.
        """
        ...

    async def endpoints(self, service: str) -> list[Replica]:
        """Return the present replicas, ready or not."""
        ...

    async def metrics(self, service: str, replica: int) -> "Sequence[Sample]":
        """Return every sample of a replica's metrics page."""
        ...

    async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]:
        """Return the last lines of a replica's log, at most `lines`, the oldest first."""
        ...

    async def environment(self, identity: str = OPERATOR) -> Mapping[str, str]:
        """Return the `MESH_*` variables for a process that joins as a workload with a directory in
        `certificates`.
        """
        ...

    async def dns_ttl(self) -> float:
        """Return the seconds for which an answer of the cluster's DNS may be cached."""
        ...

    async def status(self) -> dict[str, Any]:
        """Return the data that `meshmart status --json` prints."""
        ...


async def find_replica(cluster: Cluster, service: str, number: int) -> Replica:
    """Return a replica by its number, ready or not.

    Raises:
        ClusterError: there is none.
    """
    for replica in await cluster.endpoints(service):
        if replica.id == number:
            return replica
    raise ClusterError(f"there is no {service}/{number}")
