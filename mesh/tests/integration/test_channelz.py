"""Channelz as a workload of the mesh asks for it."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc

from grpcmesh.server import channelz, introspection
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
