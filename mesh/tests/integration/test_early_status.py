"""A server ends a call while requests of the client's stream are still on their way: its status arrives.

grpc.aio 1.85 replaces it by INTERNAL where a write fails as the call ends (grpc/grpc#36066).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.testing.ping_pb2 import PingRequest
from tests.integration.replicas import Cluster, cluster

#: Enough calls that many of them are hit: of bare grpc.aio's, most are.
CALLS, AT_ONCE, REQUESTS = 300, 10, 20


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 1) as made:
        yield made


async def _requests() -> AsyncIterator[PingRequest]:
    for _ in range(REQUESTS):
        yield PingRequest(fail_code="FAILED_PRECONDITION")
        await asyncio.sleep(0)


async def _outcome(call: Any) -> tuple[str, str]:
    try:
        if hasattr(call, "__aiter__"):
            return "OK", str([answer async for answer in call])
        return "OK", str(await call)
    except grpc.aio.AioRpcError as e:
        return e.code().name, str(e.details())


@pytest.mark.parametrize("method", ["Echo", "Sum"])
async def test_the_status_of_a_server_that_reads_no_further_arrives(ping: Cluster, method: str) -> None:
    outcomes = Counter[tuple[str, str]]()
    for _ in range(CALLS // AT_ONCE):
        calls = [_outcome(getattr(ping.stub, method)(_requests())) for _ in range(AT_ONCE)]
        outcomes.update(await asyncio.gather(*calls))
    assert {code for code, _ in outcomes} == {"FAILED_PRECONDITION"}, outcomes
