"""Runs callbacks for call objects that are no longer referenced."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any


def on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *arguments: Any) -> None:
    """Call `callback` in the loop's thread: at once if this is it. Do nothing if the loop has been closed.

    The garbage collector may run in any thread.
    """
    try:
        here = asyncio.get_running_loop() is loop
    except RuntimeError:
        here = False
    if here:
        callback(*arguments)
    elif not loop.is_closed():
        with contextlib.suppress(RuntimeError):  # it has been closed meanwhile
            loop.call_soon_threadsafe(callback, *arguments)
