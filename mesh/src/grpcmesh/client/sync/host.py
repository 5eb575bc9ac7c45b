"""The event loop that owns the background work of synchronous channels: DNS, health watches, certificates."""

import asyncio
import atexit
import contextlib
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from grpcmesh import forking
from grpcmesh.forking import ForkedProcessError

_T = TypeVar("_T")

#: Seconds that the background thread has to end.
_STOP_TIMEOUT = 10.0
#: Seconds that tasks have to end after they are cancelled.
_END_TASKS = 5.0
_ON_LOOP = (
    "a synchronous call on the event loop's thread would block the loop: "
    "use the asynchronous channel, or make the call in another thread (asyncio.to_thread)"
)


#: The hosts whose threads run.
_running: "weakref.WeakSet[Host]" = weakref.WeakSet()


class Host:
    """Runs coroutines for threads, on an event loop in another thread.

    Args:
        loop: The running loop of an asynchronous program. If None, `start` makes a loop and a thread for it.
        begin: Awaited on the new loop before `start` returns. What it raises, `start` raises.
        end: Awaited on the loop before it ends.
        loop_thread: The thread of `loop`; by default the calling one.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        begin: Callable[[], Coroutine[Any, Any, Any]] | None = None,
        end: Callable[[], Coroutine[Any, Any, Any]] | None = None,
        loop_thread: int | None = None,
    ) -> None:
        self._own, self._begin, self._end = True, begin, end
        self._starting, self._dispatching = threading.Lock(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._callbacks: ThreadPoolExecutor | None = None
        self._inherited: ForkedProcessError | None = None
        #: The id of the loop's thread; 0 before it runs.
        self.loop_thread = 0
        if loop is not None:
            self.adopt(loop, loop_thread or threading.get_ident())

    def adopt(self, loop: asyncio.AbstractEventLoop, loop_thread: int) -> None:
        """Use a running loop.

        Raises:
            RuntimeError: A synchronous call has started the mesh already, on a loop of its own.
        """
        if self._thread is not None:
            raise RuntimeError("a call on a synchronous channel has started the mesh already, in a thread")
        self._own, self.loop, self.loop_thread = False, loop, loop_thread

    def inherited(self, error: ForkedProcessError) -> None:
        """Handle a fork: in the child process, every use raises this error."""
        self._inherited = error
        _running.discard(self)

    def start(self) -> None:
        """Start the thread. Idempotent.

        Raises:
            ForkedProcessError: The mesh was started in the parent of this process.
        """
        if self._inherited is not None:
            raise self._inherited
        with self._starting:
            if not self._own or self._thread is not None:
                return
            forking.register(self)
            self.loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_run, args=(self.loop,), name="grpcmesh", daemon=True)
            thread.start()
            self._thread, self.loop_thread = thread, thread.ident or 0
            _running.add(self)
            if self._begin is not None:
                self._started_by(self._begin)

    def _started_by(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            self.run(begin())
        except BaseException:
            self._end_thread()
            raise

    def refuse_own_thread(self) -> None:
        """Raise RuntimeError if the calling thread is that of the event loop, which must not block."""
        if threading.get_ident() == self.loop_thread:
            raise RuntimeError(_ON_LOOP)

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the loop and return its result."""
        try:
            if self._inherited is not None:
                raise self._inherited
            self.refuse_own_thread()
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except BaseException:
            coroutine.close()
            raise
        return future.result()

    def soon(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call `callback` on the loop. Do nothing if the loop has been closed, or was inherited by a fork."""
        if self._inherited is None and not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(callback, *arguments)
            except RuntimeError:  # it has been closed meanwhile
                return

    def dispatch(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call an application's callback in a thread for these, one after another."""
        with self._dispatching:
            if self._callbacks is None:
                self._callbacks = ThreadPoolExecutor(1, "grpcmesh callbacks")
            self._callbacks.submit(callback, *arguments)

    def stop(self) -> None:
        """Cancel all that runs on the loop, and end the thread. Idempotent."""
        if self._inherited is not None:
            return
        with self._starting:
            if self._thread is not None and self._end is not None:
                self.run(self._end())
            self._end_thread()

    def _end_thread(self) -> None:
        thread, self._thread = self._thread, None
        callbacks, self._callbacks = self._callbacks, None
        _running.discard(self)
        if callbacks is not None:
            callbacks.shutdown(wait=False)
        if thread is not None:
            self.soon(self.loop.stop)
            thread.join(_STOP_TIMEOUT)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        running = asyncio.all_tasks(loop)
        for task in running:
            task.cancel()
        with contextlib.suppress(RuntimeError):  # a channel that was dropped has stopped the loop, too
            loop.run_until_complete(
                asyncio.wait([*running, loop.create_task(_nothing())], timeout=_END_TASKS)
            )
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _nothing() -> None:
    """Do nothing: `asyncio.wait` needs at least one task."""


@atexit.register
def _stop_all() -> None:
    """Stop the threads before the interpreter ends: a program may not have closed its channels."""
    for host in list(_running):
        host.stop()
