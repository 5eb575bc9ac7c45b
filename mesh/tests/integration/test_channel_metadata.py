"""Request metadata that gRPC refuses ends the call, and all other metadata is sent."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.call import ClientCall, ClientLayer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.channelkit import answer, begin
from tests.integration.replicas import Cluster, cluster


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 2) as made:
        yield made


REFUSED_METADATA: list[Any] = [
    (("k", "ü"),),
    (("k", "a\nb"),),
    (("k", "a\x7f"),),
    (("k", "\t"),),
    (("k", b"\xff"),),
    (("k", 1),),
    (("k", ["a"]),),
    (("x-bin", "str"),),
    (("x-bin", None),),
    (("x", "\ud800"),),
    (("\ud800", "x"),),
    (("Upper", "x"),),
    (("a b", "x"),),
    (("", "x"),),
    ((":path", "/x"),),
    ((b"\xff", "x"),),
    ((1, "x"),),
    (("one",),),
    (("one", "two", "three"),),
    ("text",),
    {"k": "value"},
    5,
]


@pytest.mark.parametrize("method", ["Ping", "Count", "Sum", "Echo"])
async def test_metadata_that_grpc_refuses_ends_its_call(ping: Cluster, method: str) -> None:
    for metadata in REFUSED_METADATA:
        call = begin(ping, method, PingRequest(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await answer(call)
        assert e.value.code() is grpc.StatusCode.INTERNAL, metadata
        assert "metadata was invalid" in (e.value.details() or "")
        assert call.done()
        assert ping.in_flight() == 0


async def test_metadata_that_grpc_takes_is_sent(ping: Cluster) -> None:
    taken: list[Any] = [
        ("x-bin", b"\xff\x00"),
        ("x", b"abc"),
        (b"x", "abc"),
        ("x", ""),
        ("x", " a "),
        ("x", None),
        ("x" * 2000, "a"),
    ]
    for pair in taken:
        await ping.stub.Ping(PingRequest(), metadata=(pair,))


async def test_metadata_of_more_than_a_server_takes_ends_its_call(ping: Cluster) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await ping.stub.Ping(PingRequest(), metadata=(("x", "a" * 100_000),))
    assert e.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ping.in_flight() == 0


async def test_a_layer_that_adds_bad_metadata_costs_its_call_only(ping: Cluster) -> None:
    class Bad(ClientLayer):
        def on_start(self, call: ClientCall) -> None:
            call.metadata.append(("x-bin", "str"))

    async with ping.open(layers=[Bad()]) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="must be bytes"):
            await PingServiceStub(channel).Ping(PingRequest())
