"""Waits until something about the cluster is true, without polling."""

import asyncio
from collections.abc import Callable


class Changes:
    """Wakes those who wait for a condition whenever something has changed."""

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Make every waiter check its condition again."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for the condition.

        Args:
            condition: A cheap check, whose result changes only together with a call of `notify`.
            timeout: Seconds to wait.

        Returns:
            Whether the condition became true in time.
        """
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await self.change()
        except TimeoutError:
            return condition()
        return True

    async def change(self) -> None:
        """Wait for the next notification."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
