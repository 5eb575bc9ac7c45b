"""A real grpc-go server with its default enforcement of keepalive: one ping in five minutes."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import ChannelConfig, MeshConfig
from grpcmesh.resolver import StaticResolver

SOURCE = Path(__file__).parent / "goserver"
WATCH = "/grpc.health.v1.Health/Watch"
#: Seconds by which grpc-go has closed a connection that is pinged each ten seconds: after the third strike.
CLOSED_WITHIN = 90


def go() -> str:
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        assert not os.environ.get("CI"), "CI has to have Go: this test would not run"
        pytest.skip("Go is not installed: no grpc-go server to test against")
    return found


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("go") / "goserver"
    made = subprocess.run(
        [go(), "build", "-o", str(built), "."], cwd=SOURCE, capture_output=True, text=True, timeout=600
    )
    assert made.returncode == 0, made.stderr
    return built


@asynccontextmanager
async def serving(binary: Path) -> AsyncIterator[str]:
    """The address of a running server."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(binary, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)


def channel(address: str, **settings: Any) -> MeshChannel:
    config = MeshConfig("client", channel=ChannelConfig(**settings))
    return MeshChannel("go", config, identity=None, resolver=StaticResolver([address]))


async def watch(channel: MeshChannel) -> Any:
    """A stream that stays open, after its first message."""
    call: Any = channel.unary_stream(
        WATCH,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )(health_pb2.HealthCheckRequest())
    assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
    return call


async def test_a_go_server_does_not_close_our_connections(binary: Path) -> None:
    """On a8def03 it did, after 31 s, with too_many_pings; so it still does where it is declared a member."""
    async with (
        serving(binary) as address,
        channel(address) as plain,
        channel(address, members=("go",)) as eager,
    ):
        unknown, member = await watch(plain), await watch(eager)
        assert not plain._core.pool.member
        async with asyncio.timeout(CLOSED_WITHIN):
            with pytest.raises(grpc.aio.AioRpcError, match=r"too_many_pings|GOAWAY") as e:
                await member.read()
        assert e.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not unknown.done()
        unknown.cancel()
