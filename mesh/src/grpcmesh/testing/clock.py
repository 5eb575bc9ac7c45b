"""Time under a test's control."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class VirtualClock:
    """A `grpcmesh.clock.Clock` that moves when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class _Selector(selectors.DefaultSelector):
    """Instead of waiting for its timeout, moves the clock on by it."""

    clock: VirtualClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("virtual time: everything waits and no timer is set")
        self.clock.advance(timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose sleeps take no time. For coroutines that touch no sockets or threads.

    After jcrist's and aiotools' loops: the selector never blocks, it moves `clock` to the next timer.
    """

    def __init__(self) -> None:
        selector = _Selector()
        selector.clock = self.clock = VirtualClock()
        super().__init__(selector)

    def time(self) -> float:
        return self.clock.now


def run_in_virtual_time(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Runs to the end in no time; inside, `asyncio.get_running_loop().time` is the clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
