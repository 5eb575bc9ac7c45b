"""The parts of a channel that need no network."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from grpcmesh.call import Kind, Method
from grpcmesh.client.channel import MeshChannel
from grpcmesh.client.connection import channel_options
from grpcmesh.client.failures import settled
from grpcmesh.client.spec import Spec
from grpcmesh.config import BalancerConfig, MeshConfig
from grpcmesh.resolver import StaticResolver


async def test_a_coroutine_that_need_not_wait_gives_its_result_at_once() -> None:
    async def ready() -> int:
        return 7

    async def waiting() -> int:
        await asyncio.sleep(1)
        return 7

    assert settled(ready(), 0) == 7
    assert settled(waiting(), 0) == 0


def test_the_native_callables_of_closed_connections_are_forgotten() -> None:
    class FakeConnection:
        def __init__(self) -> None:
            self.closed = False
            self.channel = self

        def unary_unary(self, *args: object) -> object:
            return object()

        unary_stream = stream_unary = stream_stream = unary_unary

    core = cast(Any, SimpleNamespace(retry=None, layers=[], attempt_layers=[]))
    spec = Spec(core, Method.parse("/a.B/C", Kind.UNARY), None, None)
    first, second = cast(Any, FakeConnection()), cast(Any, FakeConnection())
    assert spec.native(first) is spec.native(first)
    first.closed = True
    spec.native(second)
    assert list(spec._natives) == [second]


def test_native_channels_verify_the_services_name_and_share_nothing() -> None:
    options = dict(channel_options(BalancerConfig(max_backoff=2.0), "ping.meshmart.svc.cluster.local"))
    assert options["grpc.ssl_target_name_override"] == "ping.meshmart.svc.cluster.local"
    assert options["grpc.default_authority"] == "ping.meshmart.svc.cluster.local"
    assert options["grpc.use_local_subchannel_pool"] == 1
    assert options["grpc.max_reconnect_backoff_ms"] == 2000
    assert options["grpc.enable_http_proxy"] == 0
    # gRPC's own transparent retries, of calls that no server has seen.
    assert options["grpc.enable_retries"] == 1


async def test_a_channel_that_was_never_used_closes() -> None:
    channel = MeshChannel("ping", MeshConfig("x"), identity=None, resolver=StaticResolver([]))
    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await channel.close()
    await channel.close()
    with pytest.raises(grpc.aio.UsageError):
        await channel.start()
