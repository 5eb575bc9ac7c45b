"""An owner for background tasks."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Holds tasks, tells the loop of one that died, and ends them all."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Runs the coroutine as a task that this object owns."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            context = {"message": f"{task.get_name()} died", "exception": error, "task": task}
            task.get_loop().call_exception_handler(context)

    async def aclose(self) -> None:
        """Cancels what still runs and waits for its end."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stop(task: asyncio.Task[Any]) -> None:
    """Cancels one task and waits for its end. Raises what the task died of, if it did."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()):
        raise error
