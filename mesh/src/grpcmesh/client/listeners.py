"""The futures and callbacks that wait for a call to change."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from grpcmesh.call import ClientCall
from grpcmesh.hooks import let_through

if TYPE_CHECKING:
    from grpcmesh.client.core import Core


class Listeners:
    """Keeps the futures of tasks that wait for a call to change, and the callbacks for its end."""

    core: "Core"
    call: ClientCall
    #: Futures that are set, and dropped, when an attempt begins and when the call ends.
    waiters: list[asyncio.Future[None]]
    #: Called once, at the end.
    callbacks: list[Callable[[], None]] | None = None

    def changed(self) -> "asyncio.Future[None]":
        """Return a new future that is done when an attempt begins and when the call ends."""
        waiter: asyncio.Future[None] = self.core.loop.create_future()
        self.waiters.append(waiter)
        return waiter

    def _tell(self) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _call_back(self) -> None:
        callbacks, self.callbacks = self.callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except BaseException as e:
                let_through(e)
                context = {"message": f"a done callback of {self.call.method.path} raised", "exception": e}
                self.core.loop.call_exception_handler(context)
