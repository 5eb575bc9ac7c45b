"""Paths that callers invent leave nothing behind that grows: no handlers, no labels, no lines."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.config import ServerConfig
from grpcmesh.server import handlers
from tests.integration.serverkit import Served, failure

INVENTED = 2000


class CatchAll(grpc.GenericRpcHandler):
    """A generic handler that serves every path, with one handler or with a new one for each call."""

    def __init__(self, anew: bool) -> None:
        self.anew = anew
        self.handler = self.make()

    def make(self) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            return b"ok"

        return grpc.unary_unary_rpc_method_handler(answer)

    def service(self, handler_call_details: Any) -> Any:
        return self.make() if self.anew else self.handler


async def invent(served: Served, channel: grpc.aio.Channel) -> list[str]:
    async def one(number: int) -> str:
        call = channel.unary_unary(f"/invented.S{number}/M{number}" + "x" * (number % 500))
        return (await call(b"").code()).name

    codes = []
    for first in range(0, INVENTED, 100):
        codes += await asyncio.gather(*(one(number) for number in range(first, first + 100)))
    return codes


def size(served: Served) -> int:
    found = served.server._handlers
    return len(found._wrapped) + len(found._found) + len(found._registered)


def labels(served: Served) -> int:
    sources = [*served.server.collect(), *served.telemetry.metrics_server.collect()]
    return sum(len(family.samples) for family in sources)


def started(directory: Path) -> Served:
    # Its connection is to stay open: what is left behind is looked at.
    return Served(directory, port=ServerConfig(wasted_calls=0))


async def test_invented_paths_leave_no_handlers_no_labels_and_few_lines(tmp_path: Path) -> None:
    served = started(tmp_path)
    await served.server.start()
    try:
        async with asyncio.timeout(600), served.channel() as channel:
            await failure(channel.unary_unary("/no.Such/Method")(b""))
            before = size(served), labels(served)
            assert set(await invent(served, channel)) == {"UNIMPLEMENTED"}
            assert (size(served), labels(served)) == before
        lines = [line for line in served.log.lines if "unknown/unknown" in line]
        assert 0 < len(lines) < INVENTED / 2
        assert max(map(len, lines)) < 1000
        assert served.metric("grpc_server_handled_total", grpc_service="unknown") == INVENTED + 1
    finally:
        await served.server.stop(0)


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("allowed", [False, True])
async def test_nor_do_they_through_a_handler_of_all_paths(
    tmp_path: Path, anew: bool, allowed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    served = started(tmp_path)
    if allowed:
        services = ",".join(f"'invented.S{number}/*'" for number in range(INVENTED))
        users = "\n".join(f"'invented.S{number}/*'='anyone'" for number in range(INVENTED))
        served.write_policy(f"[[allow]]\nfrom=['client']\nmethods=[{services}]\n[users]\n{users}\n")
        served.policy.load()
    served.server.add_generic_rpc_handlers([CatchAll(anew)])
    await served.server.start()
    try:
        async with asyncio.timeout(600), served.channel() as channel:
            codes = await invent(served, channel)
        assert set(codes) == {"OK" if allowed else "PERMISSION_DENIED"}
        assert size(served) <= handlers.MOST_FOUND + 50
        assert labels(served) < 512 * 40 + 1000
        if not allowed:
            assert len(caplog.records) < INVENTED / 2
    finally:
        await served.server.stop(0)
