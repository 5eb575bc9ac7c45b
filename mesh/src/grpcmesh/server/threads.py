"""A bounded pool of threads for servicers whose methods are plain functions."""

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Threads:
    """Runs functions in at most `size` daemon threads, which are started as needed.

    Unlike those of `concurrent.futures`, its threads do not keep the process alive: a function that never
    returns cannot be stopped, and must not stop the process from exiting.

    Args:
        size: The most functions that run at the same time. Further ones wait.
        name: Prefix of the names of the threads.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._idle = self._started = 0

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in a thread, in the context of the calling task, and return its result.

        If the task is cancelled before a thread is free, the function does not run. If it runs already, it
        goes on by itself.
        """
        context = contextvars.copy_context()
        return await asyncio.wrap_future(self.submit(lambda: context.run(function, *arguments)))

    def submit(self, function: Callable[[], Any]) -> "Future[Any]":
        """Run a function in a thread."""
        future: Future[Any] = Future()
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._started < self._size:
                self._started += 1
                name = f"{self._name} {self._started}"
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            self._work.put((future, function))
        return future

    def stop(self) -> None:
        """End each thread when its function has returned."""
        with self._lock:
            for _ in range(self._started):
                self._work.put(None)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            future, function = work
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as e:
                    future.set_exception(e)
            del work, future, function  # nothing of a call that has ended is kept while the thread waits
            with self._lock:
                self._idle += 1
