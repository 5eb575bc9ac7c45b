"""`Mesh.set_health`: the health of single services, as callers see it on the port."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh import Mesh
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2_grpc import add_PingServiceServicer_to_server
from tests.integration.serverkit import CHANNEL_OPTIONS, until

PING = "mesh.testing.PingService"
SERVING, NOT_SERVING = "SERVING", "NOT_SERVING"
ENVIRON = {
    "MESH_PLAINTEXT": "true",
    "MESH_IDENTITY_DIRECTORY": "/nowhere",
    "MESH_ADDRESS": "127.0.0.1:0",
    "MESH_HEALTH_ADDRESS": "",
    "MESH_ADMIN_ADDRESS": "",
    "MESH_DRAIN_DELAY": "0",
}


class Watching:
    """The statuses of a service, as a watcher on the port hears them."""

    def __init__(self, channel: grpc.aio.Channel, service: str) -> None:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        self._answers = aiter(stub.Watch(health_pb2.HealthCheckRequest(service=service)))

    async def status(self) -> str:
        answer = await asyncio.wait_for(anext(self._answers), 60)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    async def rest(self) -> list[str]:
        """Return the statuses until the server ends the stream."""
        found = list[str]()
        with contextlib.suppress(grpc.aio.AioRpcError, StopAsyncIteration):
            while True:
                found.append(await self.status())
        return found


@contextlib.asynccontextmanager
async def serving(mesh: Mesh, server: Any) -> AsyncIterator[grpc.aio.Channel]:
    """Serve until the end of the block, and give a channel to the server."""
    task = asyncio.create_task(mesh.serve(server, signals=False))
    try:
        await until(lambda: server.port or task.done())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", CHANNEL_OPTIONS) as channel:
            yield channel
    finally:
        mesh.stop()
        await task


@pytest.fixture
async def mesh() -> AsyncIterator[Mesh]:
    async with Mesh.from_env("ping", ENVIRON) as made:
        yield made


def server_of(mesh: Mesh) -> Any:
    server = mesh.server()
    add_PingServiceServicer_to_server(PingServicer("ping-1"), server)
    return server


async def test_watchers_hear_what_the_program_says_of_a_service(mesh: Mesh) -> None:
    async with serving(mesh, server_of(mesh)) as channel:
        process, ping = Watching(channel, ""), Watching(channel, PING)
        while await process.status() != SERVING:
            pass
        while await ping.status() != SERVING:
            pass
        mesh.set_health(PING, serving=False)
        assert await ping.status() == NOT_SERVING
        mesh.set_health(PING, serving=True)
        assert await ping.status() == SERVING
        mesh.set_health("", serving=False)
        assert await process.status() == NOT_SERVING


async def test_what_is_said_before_the_start_holds_from_the_start(mesh: Mesh) -> None:
    server = server_of(mesh)
    mesh.set_health(PING, serving=False)
    async with serving(mesh, server) as channel:
        process, ping = Watching(channel, ""), Watching(channel, PING)
        while await process.status() != SERVING:
            pass
        assert await ping.status() == NOT_SERVING
        mesh.set_health(PING, serving=True)
        assert await ping.status() == SERVING  # nothing in between: it had never said SERVING


async def test_a_replica_that_leaves_serves_nothing_whatever_the_program_says(mesh: Mesh) -> None:
    server = server_of(mesh)
    async with serving(mesh, server) as channel:
        ping = Watching(channel, PING)
        while await ping.status() != SERVING:
            pass
        mesh.stop()
        assert await ping.status() == NOT_SERVING
        mesh.set_health(PING, serving=True)
        assert SERVING not in await ping.rest()


async def test_health_is_that_of_a_service_of_the_server(mesh: Mesh) -> None:
    with pytest.raises(RuntimeError, match="make one with server"):
        mesh.set_health(PING, serving=False)
    server_of(mesh)
    with pytest.raises(
        ValueError, match=r"'shop.Orders' is not a service of this server, which has mesh.testing"
    ):
        mesh.set_health("shop.Orders", serving=False)
