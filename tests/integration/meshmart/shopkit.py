"""A shop of two: `user`, a real server of the mesh in this process, and `product`, which calls it."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ecommerce.user_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from grpc_health.v1 import health_pb2

from grpcmesh import App, Mesh
from grpcmesh.ca import CertificateAuthority, write_atomically
from local.dns import DnsServer, Record, Zone
from tests.integration.meshmart.fake_api import FakeApi, fake_api
from tests.unit.meshmart.api_objects import deployment, pod

#: Seconds that an examination may take here: the machine may be busy.
PATIENCE = 60.0
ALLOWED = """
[[allow]]
from = ["product"]
methods = ["ecommerce.UserService/*"]
"""


class Users(UserServiceServicer):
    """Serves no method: nobody gets that far."""


class Shop:
    """The two, and a Kubernetes that is not there, with pods of `product` from which to look."""

    def __init__(self, directory: Path, api: FakeApi, policy: str) -> None:
        self.directory, self.api = directory, api
        self.ca = CertificateAuthority(namespace="meshmart")
        self.mesh: Mesh | None = None
        self._ports: list[int] = []
        self.dns = DnsServer(Zone(self._records))
        self.policy = directory / "policy.toml"
        self.policy.write_text(policy)

    def _records(self) -> dict[str, list[Record]]:
        return {"user": [Record("user-1", "127.0.0.1", port) for port in self._ports]}

    def issue(self, service: str, **settings: Any) -> Path:
        """Write a certificate of a workload, and return its directory."""
        path = self.directory / "certs" / service
        write_atomically(path, self.ca.issue(service, **settings).files())
        return path

    def caller(self, name: str = "product-a", service: str = "product", **environ: str) -> None:
        """Add a pod that calls `user`."""
        self.api.pods.append(pod(name, service=service))
        self.api.deployments = [deployment("user", wanted=0), deployment(service, len(self.api.pods))]
        self.api.environ[name] = {
            "MESH_SERVICE": service,
            "MESH_NAMESPACE": "meshmart",
            "MESH_IDENTITY_DIRECTORY": str(self.directory / "certs" / service),
            "MESH_RESOLVER_NAMESERVER": f"127.0.0.1:{self.dns.port}",
            "MESH_RESOLVER_PORT": str(self._ports[0]),
            "MESH_RESOLVER_TIMEOUT": str(PATIENCE),
            "MESH_ADMIN_ADDRESS": "",
            **environ,
        }

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve `user` until the end of the block."""
        environ = {
            "MESH_NAMESPACE": "meshmart",
            "MESH_ADDRESS": "127.0.0.1:0",
            "MESH_HEALTH_ADDRESS": "",
            "MESH_ADMIN_ADDRESS": "",
            "MESH_DRAIN_DELAY": "0",
            "MESH_IDENTITY_DIRECTORY": str(self.issue("user")),
            "MESH_AUTHZ_POLICY_FILE": str(self.policy),
        }
        async with Mesh.from_env("user", environ) as self.mesh:
            app = App(self.mesh)
            add_UserServiceServicer_to_server(Users(), app.server)
            serving = asyncio.create_task(self.mesh.serve(app.server, signals=False))
            try:
                async with asyncio.timeout(PATIENCE):
                    await _serves(app)
                self._ports = [app.server.port]
                yield
            finally:
                self.mesh.stop()
                await serving


async def _serves(app: App) -> None:
    async with contextlib.aclosing(app.health.follow("")) as statuses:
        async for told in statuses:
            if told.status == health_pb2.HealthCheckResponse.SERVING:
                return


@contextlib.asynccontextmanager
async def shops(directory: Path, policy: str = ALLOWED) -> AsyncIterator[Shop]:
    """Give a shop whose `user` serves under a policy, and whose `product` has a certificate."""
    with pytest.MonkeyPatch.context() as patch:
        # The stand-in for Kubernetes runs in this process, and answers when it gets the CPU.
        patch.setattr("meshmart.kubernetes.api._TIMEOUT", PATIENCE)
        patch.setattr("meshmart.kubernetes.api._HEARTBEAT", 2 * PATIENCE)
        async with _shops(directory, policy) as shop:
            yield shop


@contextlib.asynccontextmanager
async def _shops(directory: Path, policy: str) -> AsyncIterator[Shop]:
    async with fake_api(directory) as api:
        shop = Shop(directory, api, policy)
        await shop.dns.start()
        try:
            shop.issue("product", lifetime=datetime.timedelta(days=1))
            async with shop.serving():
                yield shop
        finally:
            await shop.dns.aclose()
