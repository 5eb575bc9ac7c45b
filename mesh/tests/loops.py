"""Collects the errors that an event loop reports because nobody awaits them."""

import asyncio
from typing import Any


def loop_errors() -> list[dict[str, Any]]:
    """Collect the errors that the running loop reports from now on.

    grpc.aio has one completion queue per process. The loop that reads it also meets the last events
    of servers and calls whose own loop, that of an earlier test, is closed, and gets a RuntimeError
    for each. This loop runs, so these errors are not about anything that happens on it.
    """
    told: list[dict[str, Any]] = []

    def record(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if str(context.get("exception")) != "Event loop is closed":
            told.append(context)

    asyncio.get_running_loop().set_exception_handler(record)
    return told
