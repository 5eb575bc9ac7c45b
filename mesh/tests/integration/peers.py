"""Servers and clients made with another language's gRPC library: programs that `serve` and `call`.

Both take flags and behave alike, whatever they are written in: see `goserver/main.go` and
`javapeer/JavaPeer.java`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

#: The most seconds that a program may take to start or to make its calls.
TIMEOUT = 120


class Peer:
    """A program in another language.

    Args:
        command: Builds the program, and returns the command that starts it.
    """

    def __init__(self, command: Callable[[], Sequence[str]]) -> None:
        self._command = command

    @asynccontextmanager
    async def serving(self, **flags: Any) -> AsyncIterator[str]:
        """Run a server and yield its address."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *self._command(), "serve", *_flags(flags), stdin=pipe, stdout=pipe
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(await asyncio.wait_for(process.stdout.readline(), TIMEOUT))}"
        finally:
            process.stdin.close()
            await asyncio.wait_for(process.wait(), TIMEOUT)

    async def call(
        self, *addresses: str, config: Any = None, request: bytes = b"", **flags: Any
    ) -> list[Any]:
        """Call `Ping` over these endpoints; return what came of each call.

        Args:
            config: Service config, JSON-able.
            request: A serialized PingRequest.
            flags: `certs`, `server-name`, `count`, `pause`.
        """
        arguments = _flags({**flags, "config": json.dumps(config or {}), "request": request.hex()})
        process = await asyncio.create_subprocess_exec(
            *self._command(), "call", *arguments, *addresses, stdout=asyncio.subprocess.PIPE
        )
        try:
            out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0
        return [json.loads(line) for line in out.splitlines()]


def _flags(flags: dict[str, Any]) -> list[str]:
    return [f"-{name.replace('_', '-')}={value}" for name, value in flags.items()]
