"""Helpers to run coroutines concurrently that asyncio lacks."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from local.errors import ClusterError

T = TypeVar("T")


async def all_of(*work: Coroutine[Any, Any, object]) -> None:
    """Run everything concurrently.

    The first error cancels the rest and is raised as it is, not in a group.
    """
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine until it ends, or until `stop` is set.

    Raises:
        ClusterError: `stop` was set, and the work was cancelled.
    """
    task, stopper = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopper}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClusterError("the cluster is stopping")
    finally:
        task.cancel()
        stopper.cancel()
        await asyncio.gather(task, stopper, return_exceptions=True)


async def until(look: Callable[[], Awaitable[bool]], period: float) -> None:
    """Call `look` repeatedly until it returns True. The caller must set a timeout.

    Args:
        look: Returns whether the condition holds.
        period: Seconds between two calls.
    """
    while True:
        if await look():
            return
        await asyncio.sleep(period)
