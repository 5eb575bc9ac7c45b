"""Server reflection as other people's tools use it."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.integration.serverkit import serve


async def ask(directory: Path, symbol: str) -> Any:
    """Return the answer to a request for the file that declares a symbol."""
    async with serve(directory) as served, served.channel() as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)
        (answer,) = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
        return answer


SYMBOLS = ["mesh.testing.PingService", "mesh.testing.PingService.Ping", "mesh.testing.PingRequest"]


@pytest.mark.parametrize("symbol", SYMBOLS)
async def test_the_file_of_a_symbol_is_found(tmp_path: Path, symbol: str) -> None:
    """Of a method, too, by which ghz asks: a server of bare grpc.aio does not find it."""
    found = (await ask(tmp_path, symbol)).file_descriptor_response.file_descriptor_proto
    files = [FileDescriptorProto.FromString(each) for each in found]
    assert "PingService" in {service.name for file in files for service in file.service}


@pytest.mark.parametrize(
    "symbol", ["mesh.testing.PingService.Gone", "Gone", "", ".", "mesh.testing.", "a\0b"]
)
async def test_a_symbol_that_is_not_there_is_an_answer(tmp_path: Path, symbol: str) -> None:
    answer = await ask(tmp_path, symbol)
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
