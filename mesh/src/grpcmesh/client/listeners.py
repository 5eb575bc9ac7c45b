"""Who waits for news of a call."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from grpcmesh.call import ClientCall
from grpcmesh.client.stack import RAISED

if TYPE_CHECKING:
    from grpcmesh.client.core import Core


class Listeners:
    """Futures of tasks that wait for a call to move, and callbacks for its end."""

    __slots__ = ("_waiters", "call", "callbacks", "core")

    _waiters: list[asyncio.Future[None]] | None
    call: ClientCall
    #: Called once, at the end.
    callbacks: list[Callable[[], None]] | None
    core: "Core"

    def changed(self) -> "asyncio.Future[None]":
        """Return a new future that is done when an attempt begins and when the call ends."""
        waiter: asyncio.Future[None] = self.core.loop.create_future()
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)
        return waiter

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _call_back(self) -> None:
        callbacks, self.callbacks = self.callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except RAISED as e:
                context = {"message": f"a done callback of {self.call.method.path} raised", "exception": e}
                self.core.loop.call_exception_handler(context)
