"""Processes in which somebody has instrumented gRPC, as OpenTelemetry's GrpcInstrumentorClient does."""

import functools
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.sync.fork_main import channel_to
from tests.integration.sync.peer import Peer


class Generators(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Changes what calls return, like OpenTelemetry's: a stream is a generator."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        raise AssertionError(details.method)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        yield from continuation(details, request)


def test_calls_and_streams_work_on_a_channel_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    original = grpc.insecure_channel

    @functools.wraps(original)
    def instrumented(*arguments: Any, **more: Any) -> grpc.Channel:
        return grpc.intercept_channel(original(*arguments, **more), Generators())

    monkeypatch.setattr(grpc, "insecure_channel", instrumented)
    with ExitStack() as stack:
        peer = Peer("mesh", stack)
        peer.start()
        stack.callback(peer.stop)
        channel = stack.enter_context(channel_to(peer.server.endpoint))
        stub: Any = PingServiceStub(channel)
        assert stub.Ping(PingRequest(text="x"), timeout=60).text == "x"
        stream = stub.Count(PingRequest(count=3), timeout=60)
        assert len(list(stream)) == 3
        assert stream.code() is grpc.StatusCode.OK
