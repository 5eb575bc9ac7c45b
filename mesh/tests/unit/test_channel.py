"""The parts of a channel that need no network."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from grpcmesh.call import Kind, Method
from grpcmesh.client.channel import MeshChannel
from grpcmesh.client.failures import settled
from grpcmesh.client.options import channel_options
from grpcmesh.client.spec import Spec
from grpcmesh.config import BalancerConfig, ChannelConfig, MeshConfig
from grpcmesh.identity import ServerIdentity
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

    core = cast(Any, SimpleNamespace(settings=SimpleNamespace(of=id), layers=[], attempt_layers=[]))
    spec = Spec(core, Method.parse("/a.B/C", Kind.UNARY), None, None)
    first, second = cast(Any, FakeConnection()), cast(Any, FakeConnection())
    assert spec.bind(first) is spec.natives[first]
    first.closed = True
    spec.bind(second)
    assert list(spec.natives) == [second]


def test_native_channels_verify_the_services_name_and_share_nothing() -> None:
    name = "ping.default.svc.cluster.local"
    options = dict(
        channel_options(BalancerConfig(max_backoff=2.0), ChannelConfig(), "ping", ServerIdentity(name))
    )
    assert options["grpc.ssl_target_name_override"] == "ping.default.svc.cluster.local"
    assert options["grpc.default_authority"] == "ping.default.svc.cluster.local"
    assert options["grpc.use_local_subchannel_pool"] == 1
    assert options["grpc.max_reconnect_backoff_ms"] == 2000
    assert options["grpc.enable_http_proxy"] == 0
    # gRPC's own transparent retries, of calls that no server has seen.
    assert options["grpc.enable_retries"] == 1


def options_of(channel: ChannelConfig, **more: Any) -> dict[str, Any]:
    return dict(channel_options(BalancerConfig(), channel, "ping", ServerIdentity("ping.local"), **more))


def test_a_server_is_pinged_each_ten_seconds_only_if_it_is_known_to_allow_that() -> None:
    # grpc-go closes a connection with more than one ping in five minutes.
    assert options_of(ChannelConfig())["grpc.keepalive_time_ms"] > 300_000
    assert options_of(ChannelConfig(), member=True)["grpc.keepalive_time_ms"] == 10_000
    assert options_of(ChannelConfig(keepalive={"ping": 60}), member=True)["grpc.keepalive_time_ms"] == 60_000
    # C-core makes it TCP_USER_TIMEOUT.
    assert options_of(ChannelConfig())["grpc.keepalive_timeout_ms"] == 5_000


def test_arguments_of_code_go_before_those_of_the_configuration_and_these_before_the_meshs() -> None:
    channel = ChannelConfig(max_receive_message=100, options={"grpc.a": "1", "ping:grpc.enable_retries": "0"})
    options = options_of(channel, own={"grpc.a": 2, "grpc.b": "x"})
    assert options["grpc.max_receive_message_length"] == 100
    assert (options["grpc.a"], options["grpc.b"], options["grpc.enable_retries"]) == (2, "x", 0)


async def test_a_channel_that_was_never_used_closes() -> None:
    channel = MeshChannel("ping", MeshConfig("x"), identity=None, resolver=StaticResolver([]))
    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await channel.close()
    await channel.close()
    with pytest.raises(grpc.aio.UsageError):
        await channel.start()
