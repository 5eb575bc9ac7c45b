"""The Cluster port on the embedded cluster."""

import asyncio
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from local.client import ControlClient
from local.environment import client_environment
from local.errors import ClusterError
from meshmart.cluster import Replica

_TIMEOUT = 5.0


class EmbeddedCluster:
    """Talks to the supervisor of a state directory.

    Args:
        state_dir: `.meshmart`.
    """

    def __init__(self, state_dir: Path) -> None:
        self._client = ControlClient(state_dir)

    @property
    def certificates(self) -> Path:
        """Holds a directory for each workload, `client` among them."""
        return self._client.state.certs

    async def status(self) -> dict[str, Any]:
        """What `meshmart status --json` prints."""
        told: dict[str, Any] = await self._client.request("status")
        return told

    async def scale(self, service: str, replicas: int) -> None:
        await self._client.request("scale", service=service, replicas=replicas)

    async def kill(self, service: str, replica: int) -> None:
        await self._client.request("kill", service=service, replica=replica)

    async def pause(self, service: str, replica: int) -> None:
        await self._client.request("pause", service=service, replica=replica)

    async def resume(self, service: str, replica: int) -> None:
        await self._client.request("resume", service=service, replica=replica)

    async def restart(self, service: str) -> None:
        await self._client.request("restart", service=service)

    async def rotate(self) -> None:
        await self._client.request("rotate")

    async def endpoints(self, service: str) -> list[Replica]:
        services = (await self.status())["services"]
        if service not in services:
            raise ClusterError(f"there is no service {service!r}; there are {', '.join(services)}")
        return [_replica(r) for r in services[service]["replicas"]]

    async def metrics(self, service: str, replica: int) -> Sequence[Sample]:
        for endpoint in await self.endpoints(service):
            if endpoint.id == replica:
                text = await asyncio.to_thread(_fetch, endpoint.metrics)
                return [s for family in text_string_to_metric_families(text) for s in family.samples]
        raise ClusterError(f"there is no {service}/{replica}")

    async def environment(self) -> Mapping[str, str]:
        status = await self.status()
        return client_environment(self._client.state, status["dns"], status["resolver"])


def _replica(told: dict[str, Any]) -> Replica:
    return Replica(
        id=told["id"],
        host=told["address"],
        port=told["port"],
        pid=told["pid"],
        ready=told["ready"],
        restarts=told["restarts"],
        metrics=told["metrics"],
    )


def _fetch(url: str) -> str:
    # Without proxies: it is a loopback address.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT) as reply:
            return str(reply.read().decode())
    except OSError as e:
        raise ClusterError(f"no metrics from {url}: {e}") from e
