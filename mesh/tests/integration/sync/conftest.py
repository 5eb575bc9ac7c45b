"""The same test bodies run on `grpc.insecure_channel` and on a SyncChannel. See docs/sync.md."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.sync.peer import KINDS, Peer


@pytest.fixture(params=KINDS)
def peer(request: pytest.FixtureRequest) -> Iterator[Peer]:
    with ExitStack() as stack:
        made = Peer(request.param, stack)
        made.start()
        stack.callback(made.stop)
        yield made


@pytest.fixture
def channel(peer: Peer) -> grpc.Channel:
    return peer.open()


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return PingServiceStub(channel)
