"""The client's side of gRPC's interop tests, as described by gRPC. A case that fails raises."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import grpc

from tests.conformance.interop_service import INITIAL, TRAILING

REQUESTS, RESPONSES = (27182, 8, 1828, 45904), (31415, 9, 2653, 58979)
LARGE_REQUEST, LARGE_RESPONSE = 271828, 314159
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
#: The most seconds that one case may take.
TIMEOUT = 60.0


class Cases:
    """The client's test cases.

    Args:
        stub: Stub of the test service.
        unimplemented: Stub of a service that the server does not have.
        messages: The generated module of messages.
        late: The codes with which a call may end at its deadline.
        options: Options of each call, such as `compression`.
    """

    def __init__(
        self,
        stub: Any,
        unimplemented: Any,
        messages: Any,
        *,
        late: Collection[grpc.StatusCode] = (grpc.StatusCode.DEADLINE_EXCEEDED,),
        **options: Any,
    ) -> None:
        self._stub, self._unimplemented, self._pb, self._options = stub, unimplemented, messages, options
        self._late = late

    async def empty_unary(self, empty: Any) -> None:
        assert await self._stub.EmptyCall(empty, **self._options) == empty

    async def large_unary(self) -> None:
        request = self._simple(LARGE_REQUEST, LARGE_RESPONSE)
        response = await self._stub.UnaryCall(request, **self._options)
        assert len(response.payload.body) == LARGE_RESPONSE

    async def client_streaming(self) -> None:
        requests = [self._pb.StreamingInputCallRequest(payload=self._payload(size)) for size in REQUESTS]
        response = await self._stub.StreamingInputCall(iter(requests), **self._options)
        assert response.aggregated_payload_size == sum(REQUESTS) == 74922

    async def server_streaming(self) -> None:
        call = self._stub.StreamingOutputCall(self._output(*RESPONSES), **self._options)
        assert [len(response.payload.body) async for response in call] == list(RESPONSES)

    async def ping_pong(self) -> None:
        call = self._stub.FullDuplexCall(**self._options)
        for size, wanted in zip(REQUESTS, RESPONSES, strict=True):
            await call.write(self._output(wanted, payload=size))
            assert len((await call.read()).payload.body) == wanted
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

    async def empty_stream(self) -> None:
        call = self._stub.FullDuplexCall(**self._options)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK

    async def timeout_on_sleeping_server(self) -> None:
        # The connection is up then, and the call reaches the server.
        await self.large_unary()
        call = self._stub.FullDuplexCall(timeout=0.001, **self._options)
        # A request that asks for no response: a quick server cannot answer in time.
        error = await failure(self._ask(call, self._output(payload=27182)))
        assert error.code() in self._late

    async def cancel_after_begin(self) -> None:
        call = self._stub.StreamingInputCall(**self._options)
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED

    async def cancel_after_first_response(self) -> None:
        call = self._stub.FullDuplexCall(**self._options)
        await self._ask(call, self._output(31415, payload=27182))
        call.cancel()
        assert await call.code() is grpc.StatusCode.CANCELLED

    async def custom_metadata(self) -> None:
        sent = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\x0a\x0b\x0a\x0b\x0a\x0b"))
        unary = self._stub.UnaryCall(self._simple(1, 1), metadata=sent, **self._options)
        await unary
        stream = self._stub.FullDuplexCall(metadata=sent, **self._options)
        await self._ask(stream, self._output(1, payload=1))
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        for call in (unary, stream):
            assert (await call.initial_metadata())[INITIAL] == sent[0][1]
            assert (await call.trailing_metadata())[TRAILING] == sent[1][1]

    async def status_code_and_message(self) -> None:
        status = self._pb.EchoStatus(code=2, message="test status message")
        unary = self._stub.UnaryCall(self._pb.SimpleRequest(response_status=status), **self._options)
        stream = self._stub.FullDuplexCall(**self._options)
        await stream.write(self._pb.StreamingOutputCallRequest(response_status=status))
        await stream.done_writing()
        for call, work in ((unary, unary), (stream, stream.read())):
            error = await failure(work)
            assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, status.message)
            assert await call.code() is grpc.StatusCode.UNKNOWN

    async def special_status_message(self) -> None:
        status = self._pb.EchoStatus(code=2, message=SPECIAL)
        error = await failure(
            self._stub.UnaryCall(self._pb.SimpleRequest(response_status=status), **self._options)
        )
        assert (error.code(), error.details()) == (grpc.StatusCode.UNKNOWN, SPECIAL)

    async def unimplemented_method(self, empty: Any) -> None:
        error = await failure(self._stub.UnimplementedCall(empty, **self._options))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    async def unimplemented_service(self, empty: Any) -> None:
        error = await failure(self._unimplemented.UnimplementedCall(empty, **self._options))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    async def rpc_soak(self, iterations: int = 100, workers: int = 4) -> None:
        async def work() -> None:
            for _ in range(iterations // workers):
                await self.large_unary()

        await asyncio.gather(*(work() for _ in range(workers)))

    async def _ask(self, call: Any, request: Any) -> Any:
        await call.write(request)
        return await call.read()

    def _simple(self, size: int, wanted: int) -> Any:
        return self._pb.SimpleRequest(payload=self._payload(size), response_size=wanted)

    def _output(self, *sizes: int, payload: int = 0) -> Any:
        parameters = [self._pb.ResponseParameters(size=size) for size in sizes]
        return self._pb.StreamingOutputCallRequest(
            response_parameters=parameters, payload=self._payload(payload)
        )

    def _payload(self, size: int) -> Any:
        return self._pb.Payload(body=bytes(size))


async def failure(work: Awaitable[Any]) -> grpc.aio.AioRpcError:
    """Return the error of a call that has to fail."""
    try:
        await work
    except grpc.aio.AioRpcError as e:
        return e
    raise AssertionError("the call succeeded")


#: The cases that take an empty message, and those that take no argument.
EMPTY = ("empty_unary", "unimplemented_method", "unimplemented_service")
CASES = (
    *("large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream"),
    *("timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "custom_metadata"),
    *("status_code_and_message", "special_status_message", "rpc_soak"),
)


async def run(cases: Cases, name: str, empty: Any) -> None:
    """Run one case within its time."""
    case: Callable[..., Awaitable[None]] = getattr(cases, name)
    async with asyncio.timeout(TIMEOUT):
        await (case(empty) if name in EMPTY else case())
