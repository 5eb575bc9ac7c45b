"""A request that cannot be sent because its call is over: the caller gets the status of the call."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from tests.integration.endkit import settle
from tests.integration.replicas import Cluster, cluster
from tests.loops import loop_errors

#: How many calls are made in each way. Without the first status, 100 of 100 over an iterator lost theirs.
CALLS = 100


class Refusing(PingServicer):
    """Ends each call of a request stream with an error, or with OK, after a few requests."""

    code: grpc.StatusCode | None = grpc.StatusCode.OUT_OF_RANGE

    async def Sum(self, requests: AsyncIterator[PingRequest], context: Any) -> PingResponse:
        await self._end(requests, context)
        return PingResponse()

    async def Echo(self, requests: AsyncIterator[PingRequest], context: Any) -> AsyncIterator[PingResponse]:
        await self._end(requests, context)
        return
        yield PingResponse()

    async def _end(self, requests: AsyncIterator[PingRequest], context: Any) -> None:
        await anext(aiter(requests))
        if self.code is not None:
            await context.abort(self.code, "enough")


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 1) as made:
        server = made.servers[0]
        await server.stop()
        server.servicer = Refusing()
        await server.start()
        await made.ready(1)
        yield made


async def slowly(count: int) -> AsyncIterator[PingRequest]:
    for _ in range(count):
        yield PingRequest(text="x" * 100)
        await asyncio.sleep(0)


async def outcome(ping: Cluster, method: str, style: str) -> str:
    """Make a call, send it requests until it ends, and return its status."""
    make, requests = getattr(ping.stub, method), [PingRequest(text="x" * 100)] * 200
    given = {"iterator": iter(requests), "generator": slowly(200)}.get(style)
    call = make(given, timeout=60) if given is not None else make(timeout=60)
    try:
        if style == "writes":
            for request in requests:
                await call.write(request)
        if style != "iterator":
            await asyncio.sleep(0)
        if style in ("writes", "closes"):
            await call.write(requests[0])
            await call.done_writing()
        if method == "Sum":
            await call
        else:
            _ = [message async for message in call]
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the latter: written after the end
        return f"{(await call.code()).name} {await call.details()}"
    return "OK"


@pytest.mark.parametrize("method", ["Sum", "Echo"])
@pytest.mark.parametrize("style", ["iterator", "generator", "writes", "closes"])
async def test_the_status_of_a_call_that_ends_while_requests_are_sent_is_its_own(
    ping: Cluster, method: str, style: str
) -> None:
    errors = loop_errors()
    codes = Counter([await outcome(ping, method, style) for _ in range(CALLS)])
    assert codes == {"OUT_OF_RANGE enough": CALLS}
    settle(ping.channel)
    assert errors == []
