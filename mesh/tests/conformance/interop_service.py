"""The interop test service: doc/interop-test-descriptions.md of https://github.com/grpc/grpc."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}


class TestService:
    """The methods of a test service's servicer, to combine with the generated base class.

    Args:
        messages: The generated module.
    """

    __test__ = False

    def __init__(self, messages: Any) -> None:
        self._pb = messages

    async def EmptyCall(self, request: Any, context: Any) -> Any:
        return request

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        await self._echo(request, context)
        return self._pb.SimpleResponse(payload=self._payload(request.response_size))

    async def StreamingOutputCall(self, request: Any, context: Any) -> AsyncIterator[Any]:
        async for response in self._outputs(request):
            yield response

    async def StreamingInputCall(self, requests: AsyncIterator[Any], context: Any) -> Any:
        size = 0
        async for request in requests:
            size += len(request.payload.body)
        return self._pb.StreamingInputCallResponse(aggregated_payload_size=size)

    async def FullDuplexCall(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        first = True
        async for request in requests:
            if first:
                first = False
                await self._echo_metadata(context)
            await self._echo_status(request, context)
            async for response in self._outputs(request):
                yield response

    HalfDuplexCall = FullDuplexCall

    async def _outputs(self, request: Any) -> AsyncIterator[Any]:
        for wanted in request.response_parameters:
            await asyncio.sleep(wanted.interval_us / 1e6)
            yield self._pb.StreamingOutputCallResponse(payload=self._payload(wanted.size))

    async def _echo(self, request: Any, context: Any) -> None:
        await self._echo_metadata(context)
        await self._echo_status(request, context)

    async def _echo_metadata(self, context: Any) -> None:
        for key, value in context.invocation_metadata():
            if key == INITIAL:
                await context.send_initial_metadata(((key, value),))
            elif key == TRAILING:
                context.set_trailing_metadata(((key, value),))

    async def _echo_status(self, request: Any, context: Any) -> None:
        status = request.response_status
        if status.code:
            await context.abort(CODES[status.code], status.message)

    def _payload(self, size: int) -> Any:
        return self._pb.Payload(body=bytes(size))
