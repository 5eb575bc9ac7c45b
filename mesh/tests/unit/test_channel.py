"""The parts of a channel that need no network."""

import asyncio
from typing import Any, cast

import grpc
import pytest

from grpcmesh.call import ClientCall, ClientLayer, Kind, Method
from grpcmesh.client.channel import MeshChannel
from grpcmesh.client.connection import channel_options
from grpcmesh.client.core import Core
from grpcmesh.client.flight import settled
from grpcmesh.client.spec import Spec
from grpcmesh.config import BalancerConfig, MeshConfig
from grpcmesh.resolver import StaticResolver


class Noted(ClientLayer):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def on_end(self, call: ClientCall) -> None:
        self.log.append(self.name)


class Starting(Noted):
    def on_start(self, call: ClientCall) -> None:
        self.log.append(f"start {self.name}")


def core(*layers: ClientLayer) -> Core:
    unused = cast(Any, None)
    return Core("ping", unused, unused, unused, unused, unused, unused, layers)


def test_the_way_back_is_the_way_in_reversed_as_far_as_it_went() -> None:
    log: list[str] = []
    made = core(Starting("a", log), Noted("b", log), Starting("c", log), Noted("d", log))
    assert len(made.starts) == 2
    call = ClientCall(Method.parse("/a.B/C", Kind.UNARY), "ping", 0.0)
    for entered, expected in [(0, []), (1, ["b", "a"]), (2, ["d", "c", "b", "a"])]:
        log.clear()
        for end in made.unwinds[entered]:
            end(call)
        assert log == expected


def test_a_hook_that_is_not_overridden_costs_nothing() -> None:
    made = core(ClientLayer(), ClientLayer())
    assert (made.starts, made.attempts, made.unwinds) == ([], [], [[]])


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

    spec = Spec(Method.parse("/a.B/C", Kind.UNARY), None, None)
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
    assert options["grpc.enable_retries"] == options["grpc.enable_http_proxy"] == 0


async def test_a_channel_that_was_never_used_closes() -> None:
    channel = MeshChannel("ping", MeshConfig("x"), identity=None, resolver=StaticResolver([]))
    assert channel.get_state() is grpc.ChannelConnectivity.IDLE
    await channel.close()
    await channel.close()
    with pytest.raises(grpc.aio.UsageError):
        await channel.start()
