"""The server under test of Connect's conformance suite. Its arguments are `mesh` or `bare`, and the
socket of tests.conformance.warm.

The runner describes the server that it wants on the standard input, reads the port, and ends the process.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

from grpcmesh import grpc_environment  # noqa: F401  # first: it sets what gRPC reads when it is imported

# isort: split

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from tests.conformance import frames, plain, warm
from tests.conformance.connect import headers, metadata, pack, server_compat, service, service_grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def request_info(context: Any, requests: list[Any]) -> Any:
    """Return the parts of a request that the suite expects back."""
    info = service.ConformancePayload.RequestInfo(
        request_headers=headers(context.invocation_metadata()), requests=requests
    )
    remaining = context.time_remaining()
    if remaining is not None:
        info.timeout_ms = max(0, int(remaining * 1000))
    return info


async def fail(context: Any, error: Any, *details: Any) -> None:
    """End the call with this error, whose details include what the suite expects of the request."""
    status = status_pb2.Status(code=error.code, message=error.message, details=error.details)
    status.details.extend(pack(detail) for detail in details)
    # abort_with_status replaces the trailing metadata that was set before.
    trailing = (*context.trailing_metadata(), *rpc_status.to_status(status).trailing_metadata)
    context.set_trailing_metadata(trailing)
    await context.abort(CODES[error.code], error.message)


class Conformance(service_grpc.ConformanceServiceServicer):  # type: ignore[misc]
    """A servicer that answers as the request says. It leaves `Unimplemented` to gRPC."""

    async def Unary(self, request: Any, context: Any) -> Any:
        payload = await self._answer(request.response_definition, [pack(request)], context)
        return service.UnaryResponse(payload=payload)

    async def IdempotentUnary(self, request: Any, context: Any) -> Any:
        payload = await self._answer(request.response_definition, [pack(request)], context)
        return service.IdempotentUnaryResponse(payload=payload)

    async def ClientStream(self, requests: AsyncIterator[Any], context: Any) -> Any:
        definition, seen = service.UnaryResponseDefinition(), []
        async for request in requests:
            if not seen:
                definition = request.response_definition
            seen.append(pack(request))
        return service.ClientStreamResponse(payload=await self._answer(definition, seen, context))

    async def _answer(self, definition: Any, requests: list[Any], context: Any) -> Any:
        info = request_info(context, requests)
        await context.send_initial_metadata(metadata(definition.response_headers))
        context.set_trailing_metadata(metadata(definition.response_trailers))
        await asyncio.sleep(definition.response_delay_ms / 1000)
        if definition.HasField("error"):
            await fail(context, definition.error, info)
        return service.ConformancePayload(data=definition.response_data, request_info=info)

    async def ServerStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        definition, info = request.response_definition, request_info(context, [pack(request)])
        await self._begin(definition, context)
        for index, data in enumerate(definition.response_data):
            payload = service.ConformancePayload(data=data, request_info=None if index else info)
            await asyncio.sleep(definition.response_delay_ms / 1000)
            yield service.ServerStreamResponse(payload=payload)
        if definition.HasField("error"):
            await fail(context, definition.error, *([] if definition.response_data else [info]))

    async def BidiStream(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        """Answer each request (full duplex), or all after the last request (half duplex)."""
        definition, seen, sent, first = service.StreamResponseDefinition(), [], 0, True
        async for request in requests:
            seen.append(pack(request))
            if first:
                first, definition = False, request.response_definition
                await self._begin(definition, context)
            if not request.full_duplex and not sent:
                continue
            if sent == len(definition.response_data):
                break
            yield await self._next(definition, sent, seen, context)
            sent, seen = sent + 1, []
        for index in range(sent, len(definition.response_data)):
            yield await self._next(definition, index, seen, context)
            seen = []
        if definition.HasField("error"):
            info = [] if definition.response_data else [request_info(context, seen)]
            await fail(context, definition.error, *info)

    async def _begin(self, definition: Any, context: Any) -> None:
        await context.send_initial_metadata(metadata(definition.response_headers))
        context.set_trailing_metadata(metadata(definition.response_trailers))

    async def _next(self, definition: Any, index: int, seen: list[Any], context: Any) -> Any:
        payload = service.ConformancePayload(data=definition.response_data[index])
        if index == 0:
            payload.request_info.CopyFrom(request_info(context, seen))
        elif seen:
            payload.request_info.requests.extend(seen)
        await asyncio.sleep(definition.response_delay_ms / 1000)
        return service.BidiStreamResponse(payload=payload)


async def main(kind: str) -> None:
    wanted = await frames.read(await frames.stdin(), server_compat.ServerCompatRequest)
    assert wanted is not None, "the runner asked for no server"
    serve = plain.serve_mesh if kind == "mesh" else plain.serve_bare

    def add(server: Any) -> None:
        service_grpc.add_ConformanceServiceServicer_to_server(Conformance(), server)

    server, port = await serve(add, wanted.message_receive_limit)
    frames.write(server_compat.ServerCompatResponse(host="127.0.0.1", port=port))
    await server.wait_for_termination()


if __name__ == "__main__":
    kind, socket = sys.argv[1:]
    warm.serve(socket, lambda: main(kind))
