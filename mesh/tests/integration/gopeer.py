"""Servers and clients made with Go's gRPC library: see `goserver/main.go`."""

import asyncio
import functools
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests import gotools

SOURCE = Path(__file__).parent / "goserver"


@functools.cache
def binary() -> Path:
    """Build the program, once in a run of the tests."""
    return gotools.build(SOURCE, Path(_directory().name) / "goserver")


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="goserver")  # removed when the interpreter ends


@asynccontextmanager
async def serving(**flags: Any) -> AsyncIterator[str]:
    """The address of a running server."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(binary(), "serve", *_flags(flags), stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)


async def call(*addresses: str, config: Any = None, request: bytes = b"", **flags: Any) -> list[Any]:
    """Call `Ping` over these endpoints; return what came of each call.

    Args:
        config: Service config, JSON-able.
        request: A serialized PingRequest.
        flags: `certs`, `server-name`, `count`, `pause`.
    """
    arguments = _flags({**flags, "config": json.dumps(config or {}), "request": request.hex()})
    process = await asyncio.create_subprocess_exec(
        binary(), "call", *arguments, *addresses, stdout=asyncio.subprocess.PIPE
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def _flags(flags: dict[str, Any]) -> list[str]:
    return [f"-{name.replace('_', '-')}={value}" for name, value in flags.items()]
