"""A stream that is resumed with its cursor whenever it breaks: what every client should do."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc

from services.loadgen.calls import StreamCall

#: Seconds before a broken stream is opened again.
PAUSE = 0.1


class Following:
    """Yields the messages of a stream, across drains and kills of the replicas that serve it.

    Args:
        open_after: Opens the stream after a cursor.
        after: The first cursor.
        by_cursor: If False, reopens the stream with cursor 0, "from now on", like a client that knows no
            cursors.
        sleep: Waits before the stream is opened again.

    Attributes:
        resumed: How often the stream was reopened.
        call: The latest call.
    """

    def __init__(
        self,
        open_after: Callable[[int], StreamCall],
        after: int,
        *,
        by_cursor: bool = True,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._open, self._cursor, self._by_cursor, self._sleep = open_after, after, by_cursor, sleep
        self.resumed = 0
        self.call: StreamCall | None = None

    async def messages(self) -> AsyncGenerator[Any, None]:
        """Yield messages until the server ends the stream; bound it with a timeout.

        Raises:
            grpc.aio.AioRpcError: the stream ended with another code than UNAVAILABLE.
        """
        while True:
            self.call = self._open(self._cursor)
            try:
                async for message in self.call:
                    yield message
                    self._cursor = message.cursor
                return
            except grpc.aio.AioRpcError as e:
                if e.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            finally:
                self.call.cancel()
            self.resumed += 1
            if not self._by_cursor:
                self._cursor = 0
            await self._sleep(PAUSE)
