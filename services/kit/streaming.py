"""Helpers for responses that stream to a browser until it disconnects."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive


async def disconnected(receive: Receive) -> None:
    """Wait until the browser has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run the coroutines until one is done, and cancel the others. Raises the error of the finished one."""
    tasks = [asyncio.ensure_future(c) for c in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
