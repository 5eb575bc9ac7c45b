"""Implements the Cluster port with the embedded cluster."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from prometheus_client.samples import Sample

from local.catalog import CLUSTER_DOMAIN, NAMESPACE, OPERATOR
from local.client import ControlClient
from local.environment import client_environment
from local.errors import ClusterError, LeaseEndedError
from local.events import Report
from local.logs import tail
from meshmart.alone import alone
from meshmart.cluster import Replica, find_replica
from meshmart.leases import LEASE, Leases
from meshmart.scrape import samples

if TYPE_CHECKING:
    from local.dns import Outage


def _quiet(_: str) -> None:
    return


class EmbeddedCluster:
    """The embedded cluster of a state directory, reached through its supervisor.

    Args:
        state_dir: The state directory, such as `.meshmart`.
        report: Called with each line of progress.
    """

    def __init__(self, state_dir: Path, report: Report = _quiet) -> None:
        self._client, self._report = ControlClient(state_dir), report
        self.leases = Leases(report)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: Any) -> None:
        """Stop renewing leases."""
        await self.leases.__aexit__(*error)

    @property
    def certificates(self) -> Path:
        return self._client.state.certs

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        async with alone(self._client.state.experiment):
            yield

    async def scale(self, service: str, replicas: int) -> None:
        await self._request("scale", service=service, replicas=replicas)

    async def kill(self, service: str, replica: int) -> str:
        return f"process {await self._request('kill', service=service, replica=replica)}"

    async def pause(self, service: str, replica: int) -> None:
        async def renew() -> None:
            await self._renew(service, replica=replica)

        await self._request("pause", service=service, replica=replica, lease=LEASE)
        self.leases.hold(f"{service}/{replica}", renew)

    async def resume(self, service: str, replica: int) -> None:
        self.leases.drop(f"{service}/{replica}")
        await self._request("resume", service=service, replica=replica)

    async def scale_for_now(self, service: str, replicas: int) -> None:
        async def renew() -> None:
            await self._renew(service, replicas=replicas)

        # Renewed from the start, because starting replicas may take longer than a lease.
        self.leases.hold(service, renew)
        await self._request("scale", service=service, replicas=replicas, lease=LEASE)

    async def restore(self, service: str) -> None:
        self.leases.drop(service)
        await self._request("restore", service=service)

    async def restart(self, service: str) -> None:
        await self._request("restart", service=service)

    async def rotate(self) -> Mapping[str, str]:
        serials: dict[str, str] = await self._request("rotate")
        return serials

    async def break_dns(self, outage: "Outage") -> None:
        """Let the cluster's DNS server fail until `mend_dns`, or until this process has ended."""

        async def renew() -> None:
            await self._request("break_dns", outage=outage, lease=LEASE)

        await renew()
        self.leases.hold("dns", renew)

    async def mend_dns(self) -> None:
        """Let the DNS server answer again."""
        self.leases.drop("dns")
        await self._request("mend_dns")

    async def endpoints(self, service: str) -> list[Replica]:
        services = (await self.status())["services"]
        if service not in services:
            raise ClusterError(f"there is no service {service!r}; there are {', '.join(services)}")
        return [_replica(service, r) for r in services[service]["replicas"]]

    async def metrics(self, service: str, replica: int) -> Sequence[Sample]:
        found = await find_replica(self, service, replica)
        return await asyncio.to_thread(samples, found.metrics)

    async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]:
        log = self._client.state.log(f"{service}-{replica}")
        try:
            return await asyncio.to_thread(tail, log, lines)
        except FileNotFoundError:
            raise ClusterError(f"there is no log of {service}/{replica}") from None
        except OSError as e:
            raise ClusterError(f"the log of {service}/{replica} cannot be read: {e.strerror}") from e

    async def environment(self, identity: str = OPERATOR) -> Mapping[str, str]:
        status = await self.status()
        return client_environment(self._client.state, status["dns"], status["resolver"], identity)

    async def dns_ttl(self) -> float:
        from local.dns import TTL

        return TTL

    async def status(self) -> dict[str, Any]:
        told: dict[str, Any] = await self._request("status")
        return told

    async def _renew(self, service: str, **what: int) -> None:
        if not await self._request("renew", service=service, lease=LEASE, **what):
            raise LeaseEndedError("somebody else has ended it")

    async def _request(self, verb: str, **arguments: Any) -> Any:
        return await self._client.request(verb, self._report, **arguments)


def _replica(service: str, told: dict[str, Any]) -> Replica:
    return Replica(
        id=told["id"],
        name=f"{service}-{told['id']}",
        host=told["address"],
        port=told["port"],
        server_name=f"{service}.{NAMESPACE}.svc.{CLUSTER_DOMAIN}",
        incarnation=str(told["pid"] or ""),
        ready=told["ready"],
        restarts=told["restarts"],
        metrics=told["metrics"],
    )
