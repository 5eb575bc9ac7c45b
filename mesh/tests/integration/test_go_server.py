"""A real grpc-go server with its default enforcement of keepalive: one ping in five minutes."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import ChannelConfig, MeshConfig
from grpcmesh.resolver import StaticResolver
from tests.integration.gopeer import serving

WATCH = "/grpc.health.v1.Health/Watch"
#: Seconds within which grpc-go closes a connection that is pinged each ten seconds (third strike).
CLOSED_WITHIN = 90


def channel(address: str, **settings: Any) -> MeshChannel:
    config = MeshConfig("client", channel=ChannelConfig(**settings))
    return MeshChannel("go", config, identity=None, resolver=StaticResolver([address]))


async def watch(channel: MeshChannel) -> Any:
    """Open a stream that stays open, and read its first message."""
    call: Any = channel.unary_stream(
        WATCH,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )(health_pb2.HealthCheckRequest())
    assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
    return call


async def test_a_go_server_does_not_close_our_connections() -> None:
    """On a8def03 it did after 31 s, with too_many_pings. It still does if it is declared a member."""
    async with (
        serving() as address,
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
