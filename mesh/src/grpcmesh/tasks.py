"""The owner of background tasks: none is lost, none fails unheard."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger(__name__)


class Tasks:
    """Runs coroutines until `aclose`. The first that fails is remembered; its owner decides what follows.

    A `TaskGroup` would cancel the body of its `async with`; a server has to drain first.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed = asyncio.Event()
        self.error: BaseException | None = None

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Starts a task that lives at most as long as this."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def failed(self) -> BaseException:
        """Waits for a task to fail; its error."""
        await self._failed.wait()
        assert self.error is not None
        return self.error

    async def aclose(self) -> None:
        """Cancels all that run, and waits for them."""
        while self._tasks:
            running = list(self._tasks)
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("background task %s failed", task.get_name(), exc_info=error)
            self.error = self.error or error
            self._failed.set()
