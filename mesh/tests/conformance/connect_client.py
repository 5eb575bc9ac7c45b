"""The client under test of Connect's conformance suite. Its arguments are `mesh` or `bare`, and the
socket of tests.conformance.warm.

The runner describes calls on the standard input, and reads what came of each.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from grpcmesh import grpc_environment  # noqa: F401  # first: it sets what gRPC reads when it is imported

# isort: split

import grpc
from google.rpc import status_pb2

from tests.conformance import frames, plain, warm
from tests.conformance.connect import client_compat, headers, metadata, pack, service, service_grpc

#: Calls at a time, and the timeout of a call (s). Only calls of the suite that never end take as long.
PARALLEL, TIMEOUT = 8, 10.0
DETAILS = "grpc-status-details-bin"
REQUESTS = {
    "Unary": service.UnaryRequest,
    "IdempotentUnary": service.IdempotentUnaryRequest,
    "Unimplemented": service.UnimplementedRequest,
    "ServerStream": service.ServerStreamRequest,
    "ClientStream": service.ClientStreamRequest,
    "BidiStream": service.BidiStreamRequest,
}
UNARY_REQUEST = {"Unary", "IdempotentUnary", "Unimplemented", "ServerStream"}
UNARY_RESPONSE = {"Unary", "IdempotentUnary", "Unimplemented", "ClientStream"}


class Conversation:
    """A call that the runner describes."""

    def __init__(self, stub: Any, wanted: Any) -> None:
        self._wanted, self._method = wanted, wanted.method
        self._cancel = wanted.cancel.WhichOneof("cancel_timing") if wanted.HasField("cancel") else None
        self.result = client_compat.ClientResponseResult()
        self._requests = [self._unpack(message) for message in wanted.request_messages]
        timeout = wanted.timeout_ms / 1000 if wanted.HasField("timeout_ms") else None
        given = {"timeout": timeout, "metadata": metadata(wanted.request_headers)}
        if wanted.compression == 2:
            given["compression"] = grpc.Compression.Gzip
        invoke = getattr(stub, self._method)
        if self._method in UNARY_REQUEST:
            self._call = invoke(self._requests[0], **given)
        else:
            self._call = invoke(**given)

    def _unpack(self, message: Any) -> Any:
        request = REQUESTS[self._method]()
        message.Unpack(request)
        return request

    async def run(self) -> None:
        cancelling = asyncio.create_task(self._cancel_later())
        try:
            await self._talk()
        except (grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError):
            pass  # the status says what happened; nothing can be written to a call that has ended
        finally:
            cancelling.cancel()
        await self._note_status()

    async def _cancel_later(self) -> None:
        """Cancel after a delay from the last request. A unary request counts as sent at once."""
        if self._cancel == "after_close_send_ms" and self._method in UNARY_REQUEST:
            await asyncio.sleep(self._wanted.cancel.after_close_send_ms / 1000)
            self._call.cancel()

    async def _talk(self) -> None:
        if self._method not in UNARY_REQUEST:
            await self._send()
        if self._method in UNARY_RESPONSE:
            self._note(await self._call)
            return
        await self._read_rest()

    async def _send(self) -> None:
        full_duplex = self._wanted.stream_type == 5
        for request in self._requests:
            await asyncio.sleep(self._wanted.request_delay_ms / 1000)
            await self._call.write(request)
            if full_duplex:
                await self._read_one()
        if self._cancel == "before_close_send":
            self._call.cancel()
        await self._call.done_writing()
        if self._cancel == "after_close_send_ms":
            await asyncio.sleep(self._wanted.cancel.after_close_send_ms / 1000)
            self._call.cancel()

    async def _read_one(self) -> bool:
        response = await self._call.read()
        if response is grpc.aio.EOF:
            return False
        self._note(response)
        limit = self._wanted.cancel.after_num_responses if self._cancel == "after_num_responses" else -1
        if len(self.result.payloads) == limit:
            self._call.cancel()
        return True

    async def _read_rest(self) -> None:
        while await self._read_one():
            pass

    def _note(self, response: Any) -> None:
        if response is None:  # an OK without a message: grpc.aio returns None
            return
        if self._method != "Unimplemented":
            self._forget_default(response.payload.request_info)
            self.result.payloads.append(response.payload)

    def _forget_default(self, info: Any) -> None:
        """Drop the timeout that the server saw if the case has none.

        The mesh gives each call a deadline by default (docs/deadline.md). The suite treats that as an error.
        """
        if not self._wanted.HasField("timeout_ms"):
            info.ClearField("timeout_ms")

    def _note_detail(self, detail: Any) -> None:
        info = service.ConformancePayload.RequestInfo()
        if detail.Unpack(info):
            self._forget_default(info)
            detail = pack(info)
        self.result.error.details.append(detail)

    async def _note_status(self) -> None:
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            self.result.error.code = code.value[0]
            self.result.error.message = await self._call.details() or ""
        for name, value in await self._trailing():
            if name == DETAILS:
                for detail in status_pb2.Status.FromString(value).details:
                    self._note_detail(detail)
        self.result.response_headers.extend(headers(await self._initial()))
        self.result.response_trailers.extend(headers(await self._trailing()))

    async def _initial(self) -> Any:
        try:
            return await self._call.initial_metadata()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            return ()

    async def _trailing(self) -> Any:
        return await self._call.trailing_metadata() or ()


async def converse(kind: str, wanted: Any) -> Any:
    """Make the call on its own channel, because the suite has many short-lived servers."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if wanted.message_receive_limit:
        options.append(("grpc.max_receive_message_length", wanted.message_receive_limit))
    make: Callable[..., grpc.aio.Channel] = plain.mesh_channel if kind == "mesh" else plain.bare_channel
    answer = client_compat.ClientCompatResponse(test_name=wanted.test_name)
    async with make(f"{wanted.host}:{wanted.port}", options) as channel:
        conversation = Conversation(service_grpc.ConformanceServiceStub(channel), wanted)
        await conversation.run()
    answer.response.CopyFrom(conversation.result)
    return answer


async def bounded(places: asyncio.Semaphore, work: Awaitable[Any], name: str) -> None:
    async with places:
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await work
        except Exception as e:
            message = f"{type(e).__name__}: {e}"
            answer = client_compat.ClientCompatResponse(test_name=name)
            answer.error.message = message
    frames.write(answer)


async def main(kind: str) -> None:
    reader, places = await frames.stdin(), asyncio.Semaphore(PARALLEL)
    async with asyncio.TaskGroup() as group:
        while (wanted := await frames.read(reader, client_compat.ClientCompatRequest)) is not None:
            group.create_task(bounded(places, converse(kind, wanted), wanted.test_name))


if __name__ == "__main__":
    kind, socket = sys.argv[1:]
    warm.serve(socket, lambda: main(kind))
