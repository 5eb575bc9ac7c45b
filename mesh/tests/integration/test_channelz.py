"""Channelz as a workload of the mesh asks for it."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz as channelz_servicer
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from grpcmesh.server import channelz, introspection
from tests.integration.replicas import cluster
from tests.integration.serverkit import serve


async def _refused_after(stub: Any) -> tuple[int, grpc.StatusCode]:
    """Ask until an answer is refused. Return the bytes of all answers, and the code."""
    given = 0
    while given < 2**20:
        try:
            given += (await stub.GetServers(channelz_pb2.GetServersRequest())).ByteSize()
        except grpc.aio.AioRpcError as e:
            return given, e.code()
    return given, grpc.StatusCode.OK


async def test_it_gives_only_as_many_answers_as_it_may_take_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introspection, "leaks", lambda version: True)  # whichever version runs here
    monkeypatch.setattr(channelz, "BUDGET", 4096)
    async with serve(tmp_path) as served, served.channel() as channel:
        given, code = await _refused_after(channelz_pb2_grpc.ChannelzStub(channel))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert given >= 4096


def _channels() -> list[Any]:
    """Return all channels of this process."""
    found: list[Any] = []
    servicer: Any = channelz_servicer.ChannelzServicer
    while True:
        first = found[-1].ref.channel_id + 1 if found else 0
        answer = servicer.GetTopChannels(channelz_pb2.GetTopChannelsRequest(start_channel_id=first), None)
        found += answer.channel
        if answer.end or not answer.channel:
            return found


async def test_the_answers_about_the_channels_of_the_mesh_are_short(tmp_path: Path) -> None:
    """A client reads its server's certificate from such answers, which grpcio below 1.85.3 never frees."""
    async with cluster(tmp_path, 1) as ping:
        ours = [c for c in _channels() if f"{ping.servers[0].endpoint}#mesh-" in c.data.target]
        assert ours
        assert not any(channel.data.trace.events for channel in ours)
