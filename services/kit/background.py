"""Runs a service's periodic background work."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from grpcmesh.clock import system_rng
from grpcmesh.errors import MeshError

_log = logging.getLogger(__name__)


@asynccontextmanager
async def repeating(
    work: Callable[[], Awaitable[object]], interval: float, name: str, *, wake: asyncio.Event | None = None
) -> AsyncIterator[None]:
    """Run `work` every `interval` seconds until the end of the block, and at once when `wake` is set.

    An error is logged when the work begins to fail, not each time, and does not stop the repetition: the work
    is tried again at the next interval. Intervals vary by up to a tenth, so that replicas do not run in step.
    """
    task = asyncio.create_task(_repeat(work, interval, name, wake or asyncio.Event()), name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _repeat(
    work: Callable[[], Awaitable[object]], interval: float, name: str, wake: asyncio.Event
) -> None:
    failing, rng = False, system_rng()
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(interval * rng.uniform(0.9, 1.1)):
                await wake.wait()
        wake.clear()
        try:
            await work()
        except Exception as e:  # an error of the work must not end the loop
            if not failing:
                _log.warning("%s fails: %s", name, e, exc_info=None if isinstance(e, MeshError) else e)
            failing = True
        else:
            if failing:
                _log.warning("%s works again", name)
            failing = False
