"""The same test bodies run on a grpc.aio channel and on a MeshChannel. See docs/compatibility.md."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest

from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.compat.peer import KINDS, Peer


@pytest.fixture(params=KINDS)
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    async with AsyncExitStack() as stack:
        made = Peer(request.param, stack)
        await stack.enter_async_context(made.server)
        yield made


@pytest.fixture
async def channel(peer: Peer) -> grpc.aio.Channel:
    return await peer.open()


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Any:
    return PingServiceStub(channel)
