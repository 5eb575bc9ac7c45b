"""Owns the work that outlives the call that began it."""

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from grpcmesh.telemetry import detached_context
from services.order.domain import Order

_log = logging.getLogger(__name__)

#: Seconds that running sagas get to finish at exit. Recovery in another replica finishes the rest.
GRACE = 5.0


class SagaTasks:
    """Runs sagas in tasks of their own.

    It is an async context manager; leaving it waits for them, up to `GRACE`.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Order]] = set()

    @property
    def running(self) -> int:
        """Return the number of running sagas."""
        return len(self._tasks)

    def start(self, saga: Coroutine[Any, Any, Order]) -> "asyncio.Task[Order]":
        """Start a saga. It keeps the call's trace, but neither its deadline nor its cancellation."""
        task = asyncio.get_running_loop().create_task(saga, context=detached_context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Order]") -> None:
        self._tasks.discard(task)
        # Retrieving the exception also keeps asyncio from reporting it when the caller is gone.
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a saga failed; recovery will take it up", exc_info=error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._tasks:
            return
        _, late = await asyncio.wait(set(self._tasks), timeout=GRACE)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=GRACE)
