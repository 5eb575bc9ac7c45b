"""A servicer that raises, and calls of each kind."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, PingServiceStub

REPLICA = ("mesh-replica", "ping-1")
SECRET = "card 4111111111111111"


class Raising(PingServiceServicer):
    """A servicer that raises a given error in methods of each kind. It does not implement Poke."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self.error = error

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        raise self.error()

    async def Count(self, request: PingRequest, context: Any) -> AsyncIterator[PingResponse]:
        yield PingResponse(number=1)
        raise self.error()

    async def Sum(self, requests: AsyncIterator[PingRequest], context: Any) -> PingResponse:
        async for _ in requests:
            raise self.error()
        return PingResponse()

    async def Echo(self, requests: AsyncIterator[PingRequest], context: Any) -> None:
        """Answer one request with the reader and writer of the context, then raise."""
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(PingResponse(text=request.text))
            raise self.error()


async def requests(count: int = 3) -> AsyncIterator[PingRequest]:
    for number in range(count):
        yield PingRequest(text=str(number))


async def collect(call: Any) -> list[PingResponse]:
    return [response async for response in call]


async def invoke(stub: PingServiceStub, kind: str, count: int = 3) -> Any:
    """Make a call of this kind and return its result. A request stream has `count` requests."""
    if kind == "Ping":
        return await stub.Ping(PingRequest())
    if kind == "Sum":
        return await stub.Sum(requests(count))
    return await collect(stub.Count(PingRequest()) if kind == "Count" else stub.Echo(requests(count)))
