"""Follows streams across a restart, and records what they delivered."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import grpc

from services.loadgen.following import Following


class Watcher:
    """Follows one stream in a task of its own, until it ends or `enough` says so.

    Args:
        group: Owns the task.
        open_after: Opens the stream after a cursor.
        after: The first cursor.
        by_cursor: Whether a broken stream is resumed with its cursor.
        enough: Called with each message; returns whether to stop.

    Attributes:
        after: The first cursor.
        seen: The cursors, in the order of arrival.
        problem: The code of a stream that failed.
    """

    def __init__(
        self,
        group: asyncio.TaskGroup,
        open_after: Callable[[int], Any],
        after: int,
        *,
        by_cursor: bool,
        enough: Callable[[Any], bool],
    ) -> None:
        self.after, self.seen, self.problem = after, list[int](), ""
        self._following = Following(open_after, after, by_cursor=by_cursor)
        self._enough = enough
        self.task = group.create_task(self._watch())

    @property
    def resumed(self) -> int:
        return self._following.resumed

    def lost(self, truth: set[int]) -> int:
        """Return how many of these cursors were not seen."""
        return len({cursor for cursor in truth if cursor > self.after} - set(self.seen))

    @property
    def doubled(self) -> int:
        """Return how many cursors arrived twice, or after a later one."""
        return sum(b <= a for a, b in zip(self.seen, self.seen[1:], strict=False))

    async def _watch(self) -> None:
        async with aclosing(self._following.messages()) as messages:
            try:
                async for message in messages:
                    self.seen.append(message.cursor)
                    if self._enough(message):
                        return
            except grpc.aio.AioRpcError as e:
                self.problem = e.code().name


async def ended(watchers: list[Watcher], timeout: float) -> None:
    """Wait until all have seen enough. Those that have not after `timeout` seconds are cancelled."""
    if not watchers:
        return
    _, late = await asyncio.wait([w.task for w in watchers], timeout=timeout)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
