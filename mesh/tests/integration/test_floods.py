"""The resources that one peer, and all together, may use of both ports (mesh/docs/hostile-peers.md)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh.config import HealthConfig, ServerConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.server import front, guard
from grpcmesh.server.ports import HealthPort
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from tests.integration import rawh2
from tests.integration.rawh2 import PING, frame
from tests.integration.serverkit import Served, failure, until

WATCH = b"/grpc.health.v1.Health/Watch"
SERVING = health_pb2.HealthCheckResponse.SERVING


@contextlib.asynccontextmanager
async def serving(directory: Path, **settings: Any) -> AsyncIterator[Served]:
    """Run a mesh server whose port has these settings."""
    served = Served(directory, port=ServerConfig(**settings))
    add_PingServiceServicer_to_server(served.servicer, served.server)
    await served.server.start()
    served.health.set_all(True)
    try:
        yield served
    finally:
        await served.server.stop(0)


@contextlib.asynccontextmanager
async def health_port(health: HealthServicer, **settings: Any) -> AsyncIterator[HealthPort]:
    port = HealthPort(HealthConfig(address="127.0.0.1:0", **settings), health)
    await port.start()
    try:
        yield port
    finally:
        await port.stop()


async def probe(port: HealthPort) -> int:
    """Probe as a kubelet does: make one connection and one Check, and return the status."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port.port}", options) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return int((await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)).status)


async def watch(channel: grpc.aio.Channel) -> int:
    call: Any = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())  # type: ignore[no-untyped-call]
    try:
        return int((await asyncio.wait_for(call.read(), 20)).status)
    finally:
        call.cancel()


def metric(source: Any, name: str) -> float:
    return sum(s.value for f in source.collect() for s in f.samples if s.name == name)


async def test_anonymous_watchers_of_the_health_port_take_nothing_from_the_mesh_port(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as served,
        health_port(served.health) as port,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(16):
            raw = await stack.enter_async_context(rawh2.connect(f"127.0.0.1:{port.port}"))
            for _ in range(256):  # 4,096 in all
                await raw.request(rawh2.headers(WATCH))
        async with served.channel() as channel:
            assert await watch(channel) == SERVING
            await PingServiceStub(channel).Ping(PingRequest(), timeout=20)
        assert await probe(port) == SERVING


async def test_one_workload_cannot_take_all_watchers_of_the_mesh_port(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.health._members._per_peer = 3
        other = served.channel(served.ca.issue("other"))
        async with served.channel() as channel, other:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            calls = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
            for call in calls:
                await call.read()
            error = await failure(stub.Watch(health_pb2.HealthCheckRequest()).read())
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await watch(other) == SERVING
            calls.pop().cancel()
            await until(lambda: served.health._members._peers.total() == 2)
            assert await watch(channel) == SERVING


async def test_an_address_keeps_the_newest_of_its_connections_to_the_health_port(tmp_path: Path) -> None:
    health = HealthServicer()
    health.set_all(True)
    async with health_port(health, max_connections_per_peer=4) as port, contextlib.AsyncExitStack() as stack:
        held = [await stack.enter_async_context(rawh2.connect(f"127.0.0.1:{port.port}")) for _ in range(12)]
        assert await probe(port) == SERVING
        async with asyncio.timeout(20):
            for raw in held[:8]:
                await raw.answer(1)  # ends: the server has closed it
        assert metric(port, "mesh_health_port_refused_total") >= 8


async def test_all_addresses_together_have_so_many_connections_to_the_health_port(tmp_path: Path) -> None:
    health = HealthServicer()
    health.set_all(True)
    async with health_port(health, max_connections=3, max_connections_per_peer=9) as port:
        async with contextlib.AsyncExitStack() as stack:
            held = []
            for _ in range(3):
                held.append(await stack.enter_async_context(rawh2.connect(f"127.0.0.1:{port.port}")))
                assert (got := await held[-1].receive()) is not None
                assert got.kind == rawh2.SETTINGS
            async with asyncio.timeout(20), rawh2.connect(f"127.0.0.1:{port.port}") as beyond:
                assert await beyond.answer(1) == b""
        assert await probe(port) == SERVING


async def test_a_silent_connection_to_the_health_port_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "SILENCE", 0.05)
    async with health_port(HealthServicer()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 20)  # to the end, which the server makes
        writer.transport.abort()


async def test_what_an_address_sends_to_the_health_port_is_read_at_its_rate(tmp_path: Path) -> None:
    health = HealthServicer()
    health.set_all(True)
    passed = 0

    def forward(self: Any, data: bytes, forward: Any = front.Half.forward) -> None:
        nonlocal passed
        passed += len(data)
        forward(self, data)

    async with health_port(health, bytes_per_second=1024) as port:
        with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
            patch.setattr(front.Inbound, "forward", forward)
            async with rawh2.connect(f"127.0.0.1:{port.port}") as raw:
                flood = frame(PING, 0, 0, b"8 bytes!") * 100_000
                flooding = asyncio.create_task(raw.send(flood))
                stack.callback(flooding.cancel)
                await until(lambda: passed >= front.BURST, 20)
                assert await probe(port) == SERVING  # of the same address, beside the flood
                assert passed < 3 * front.BURST < len(flood) / 5
                flooding.cancel()
                await asyncio.wait([flooding])


async def test_a_workload_whose_calls_come_to_nothing_loses_its_connection_and_others_do_not(
    tmp_path: Path,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving(tmp_path, wasted_calls=0.1, wasted_calls_burst=20))
        async with served.channel() as good, served.channel(served.ca.issue("rogue")) as rogue:
            stub = PingServiceStub(good)
            await stub.Ping(PingRequest())
            connection = served.metric("mesh_tls_handshakes_total")
            codes = set()
            async with asyncio.timeout(60):
                while served.metric("mesh_connections_closed_total", reason="wasted_calls") < 2:
                    codes.add((await failure(rogue.unary_unary("/no.Such/Method")(b"", timeout=20))).code())
            assert grpc.StatusCode.UNIMPLEMENTED in codes
            await until(lambda: served.metric("mesh_tls_handshakes_total") > connection + 1)
            before = served.metric("mesh_tls_handshakes_total")
            for _ in range(5):
                await stub.Ping(PingRequest())
            assert served.metric("mesh_tls_handshakes_total") == before


async def test_an_address_has_so_many_connections_to_the_mesh_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "LOOK", 0.05)
    async with serving(tmp_path, max_connections_per_peer=20) as served, served.channel() as good:
        await PingServiceStub(good).Ping(PingRequest())
        context = rawh2.tls(served.ca.issue("client"))
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(40):
                with contextlib.suppress(ConnectionError):  # closed before its handshake was over
                    await stack.enter_async_context(rawh2.connect(served.endpoint, context))
            await until(lambda: served.metric("mesh_connections_closed_total", reason="too_many") >= 20, 20)
            await PingServiceStub(good).Ping(PingRequest(), timeout=20)


async def test_the_mesh_port_has_so_many_connections_and_serves_those(tmp_path: Path) -> None:
    async with serving(tmp_path, max_connections=10) as served, served.channel() as good:
        await PingServiceStub(good).Ping(PingRequest())
        context = rawh2.tls(served.ca.issue("client"))
        refused = 0
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                try:
                    await stack.enter_async_context(rawh2.connect(served.endpoint, context))
                except OSError:
                    refused += 1
            assert refused >= 10
            await PingServiceStub(good).Ping(PingRequest(), timeout=20)


async def test_streams_beyond_those_of_a_connection_wait_at_the_client(tmp_path: Path) -> None:
    async with serving(tmp_path, max_concurrent_streams=3) as served, served.channel() as channel:
        stub = PingServiceStub(channel)
        await stub.Ping(PingRequest())  # the client has heard of the limit
        calls = [stub.Ping(PingRequest(delay=0.2)) for _ in range(9)]
        most = 0
        while not all(call.done() for call in calls):
            most = max(most, served.servicer.running)
            await asyncio.sleep(0.01)
        await asyncio.gather(*calls)
        assert 0 < most <= 3


@pytest.mark.parametrize("size", [1000, 3_000_000])
async def test_the_size_of_messages_is_set(tmp_path: Path, size: int) -> None:
    async with serving(tmp_path, max_receive_message=2000) as served, served.channel() as channel:
        call = PingServiceStub(channel).Ping(PingRequest(text="x" * size), timeout=20)
        assert (await call.code()) is (
            grpc.StatusCode.OK if size < 2000 else grpc.StatusCode.RESOURCE_EXHAUSTED
        )
