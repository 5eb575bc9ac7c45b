"""Keeps two commands from playing scenes at the same time: what one disturbs, the other would measure."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from local.errors import ClusterError
from local.state import Lock

_POLL = 0.2


@contextlib.asynccontextmanager
async def alone(path: Path, patience: float = 0.0) -> AsyncIterator[None]:
    """Hold a lock until the end of the block, or until this process has ended.

    Args:
        path: The file that is locked.
        patience: Seconds to wait for another command to end.

    Raises:
        ClusterError: another command still plays.
    """
    lock, end = Lock(path), time.monotonic() + patience
    while not lock.acquire():
        if time.monotonic() >= end:
            raise ClusterError("another command plays scenes or a lesson here: wait until it has ended")
        await asyncio.sleep(_POLL)
    try:
        yield
    finally:
        lock.release()
