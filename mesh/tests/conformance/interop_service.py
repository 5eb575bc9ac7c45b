"""The interop test service: doc/interop-test-descriptions.md of https://github.com/grpc/grpc."""

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from grpcmesh.balancer.orca import STANDARD_LOAD_KEY

INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass
class Report:
    """A load report that a client asks for: a TestOrcaReport of the test service."""

    asked: Any = None

    def encode(self) -> bytes:
        """Return it as an xds.data.orca.v3.OrcaLoadReport, which has the same fields under other numbers."""
        if self.asked is None:
            return b""
        doubles = _double(1, self.asked.cpu_utilization) + _double(2, self.asked.memory_utilization)
        return doubles + _map(4, self.asked.request_cost) + _map(5, self.asked.utilization)


def _double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def _map(number: int, values: Mapping[str, float]) -> bytes:
    """Encode a map<string, double> whose keys are short."""
    entries = (bytes([0x0A, len(k)]) + k.encode() + _double(2, v) for k, v in values.items())
    return b"".join(bytes([number << 3 | 2, len(entry)]) + entry for entry in entries)


class TestService:
    """The methods of a test service's servicer, to combine with the generated base class.

    Args:
        messages: The generated module.
    """

    __test__ = False

    def __init__(self, messages: Any) -> None:
        self._pb = messages
        #: The report that is sent out of band.
        self.report = Report()

    async def EmptyCall(self, request: Any, context: Any) -> Any:
        return request

    async def UnaryCall(self, request: Any, context: Any) -> Any:
        await self._echo(request, context)
        if request.HasField("orca_per_query_report"):
            report = Report(request.orca_per_query_report)
            context.set_trailing_metadata(((STANDARD_LOAD_KEY, report.encode()),))
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
            if request.HasField("orca_oob_report"):
                self.report = Report(request.orca_oob_report)
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
