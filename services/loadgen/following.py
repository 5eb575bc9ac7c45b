"""A stream that is resumed with its cursor wherever it is cut: what every client of ours is to do."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc

from services.loadgen.calls import StreamCall

#: Seconds before a stream that was cut is opened again.
PAUSE = 0.1


class Following:
    """The messages of a stream across drains and kills of those who serve it.

    Args:
        open_after: Opens the stream after a cursor.
        after: The first one.
        by_cursor: False: opens it anew with cursor 0, "from now on", as a client does that knows of none.
        sleep: Waits before the stream is opened again.

    Attributes:
        resumed: How often it was opened again.
        call: The latest.
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
        """Until the server says that there is nothing more; bound it with a timeout.

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
