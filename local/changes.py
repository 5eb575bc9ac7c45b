"""Waiting until something about the cluster is true, without asking again and again."""

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes those who wait for a condition whenever something changed."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Something changed: every waiter looks again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Waits for the condition.

        Args:
            condition: Cheap, and true only through something that notifies.
            timeout: Seconds.

        Returns:
            Whether it came true in time.
        """
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self.change()
        except TimeoutError:
            return condition()
        return True

    async def change(self) -> None:
        """Waits for the next notification."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
