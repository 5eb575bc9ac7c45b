"""A clock and an event loop whose time a test controls."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class VirtualClock:
    """A `grpcmesh.clock.Clock` that advances only on demand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class _Selector(selectors.DefaultSelector):
    """A selector that advances the clock by its timeout, instead of waiting."""

    clock: VirtualClock
    #: If set, called when nothing is due now, instead of advancing the clock.
    on_idle: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.on_idle is not None and timeout != 0:
            self.on_idle()
            return super().select(0)
        if timeout is None:
            raise RuntimeError("virtual time: everything waits and no timer is set")
        self.clock.advance(timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose sleeps take no time. For coroutines that use no sockets or threads.

    After jcrist's and aiotools' loops: the selector never blocks, but advances `clock` to the next timer.
    """

    def __init__(self) -> None:
        selector = _Selector()
        selector.clock = self.clock = VirtualClock()
        self._idle = selector
        super().__init__(selector)

    def time(self) -> float:
        return self.clock.now

    def run_until_idle(self) -> None:
        """Run callbacks that are due now, and those that they schedule, until only timers are left."""
        self._idle.on_idle = self.stop
        try:
            self.run_forever()
        finally:
            self._idle.on_idle = None


def run_in_virtual_time(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in virtual time, and return its result. Its clock is the running loop's `time`."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
