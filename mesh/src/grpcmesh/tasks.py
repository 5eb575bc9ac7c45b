"""The owner of background tasks. No task outlives its owner, and no failure is unnoticed."""

import asyncio
import contextvars
import functools
import logging
import traceback
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.backoff import Backoff
from grpcmesh.clock import Rng, system_rng

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

#: Upper bounds, in seconds, of the first and of any later wait before a supervised task is restarted.
FIRST_RESTART, LONGEST_RESTART = 0.1, 30.0
#: Seconds that tasks have to end after they are cancelled.
CLOSE_TIMEOUT = 5.0


class Tasks:
    """Runs coroutines in the background until `aclose`.

    `spawn` runs a coroutine once; the owner decides what to do after a failure (`failed`). `supervise`
    restarts a coroutine, after a backoff, each time it raises. Both run it in an empty `contextvars.Context`,
    so that background work inherits no deadline, caller or trace from the call that happens to start it.

    A `TaskGroup` would cancel the body of its `async with` at the first failure; a server has to drain first.

    Args:
        rng: Draws the jitter of restarts.
    """

    def __init__(self, rng: Rng | None = None) -> None:
        self._rng = rng or system_rng()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failed = asyncio.Event()
        self._restarts: dict[str, int] = {}
        self._closed = False
        #: The error of the first spawned task that failed.
        self.error: BaseException | None = None

    def spawn(self, coroutine: Coroutine[Any, Any, _T], name: str | None = None) -> asyncio.Task[_T]:
        """Start a task that lives at most as long as this owner.

        Raises:
            RuntimeError: The owner has been closed.
        """
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"{name or coroutine} was not started: its owner has been closed")
        loop = asyncio.get_running_loop()
        task = loop.create_task(coroutine, name=name, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def supervise(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> asyncio.Task[None]:
        """Run `run()`, and restart it after a backoff each time it raises. The task ends when it returns.

        Args:
            run: Called for each start, such as `resolver.watch`.
            name: Name of the task, and its `task` label in `mesh_task_restarts_total`. Use few different
                names, and no addresses.

        Raises:
            RuntimeError: The owner has been closed.
        """
        self._restarts.setdefault(name, 0)
        return self.spawn(self._supervised(run, name), name)

    async def failed(self) -> BaseException:
        """Wait until a spawned task has failed, and return its error."""
        await self._failed.wait()
        assert self.error is not None
        return self.error

    async def aclose(self) -> None:
        """Cancel all tasks, and wait for their end for at most `CLOSE_TIMEOUT` seconds."""
        self._closed = True
        running = self._tasks - {asyncio.current_task()}
        for task in running:
            task.cancel()
        if not running:
            return
        _, stuck = await asyncio.wait(running, timeout=CLOSE_TIMEOUT)
        for task in stuck:
            _log.error("background task %s did not end within %g s", task.get_name(), CLOSE_TIMEOUT)

    def collect(self) -> Iterator[Metric]:
        """Yield the number of restarts of supervised tasks, including zeros."""
        text = "Restarts of the mesh's own background tasks after a failure."
        family = CounterMetricFamily("mesh_task_restarts", text, labels=["task"])
        for name, count in self._restarts.items():
            family.add_metric([name], count)
        yield family

    async def _supervised(self, run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        backoff, clock = Backoff(FIRST_RESTART, LONGEST_RESTART, self._rng), asyncio.get_running_loop().time
        while True:
            started = clock()
            try:
                return await run()
            except BaseException as e:
                if cancelling() or isinstance(e, KeyboardInterrupt | SystemExit | GeneratorExit):
                    raise
                if clock() - started > LONGEST_RESTART:
                    backoff.reset()
                wait = backoff.next()
                self._restarts[name] += 1
                _log.error("task %s failed, restarts in %.2f s: %r%s", name, wait, e, _where(e))
            await asyncio.sleep(wait)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("background task %s failed", task.get_name(), exc_info=error)
            self.error = self.error or error
            self._failed.set()


async def stop(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end. If the task raises anything but `CancelledError`, raise that."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()):
        raise error


async def in_thread(function: Callable[..., _T], *arguments: Any) -> _T:
    """Run a function that blocks in a thread, or on the loop if the interpreter is ending.

    `asyncio.to_thread` raises then, because no thread can be started any more. Nothing else has to run on the
    loop at that time.
    """
    loop = asyncio.get_running_loop()
    try:
        future = loop.run_in_executor(None, functools.partial(function, *arguments))
    except RuntimeError:
        return function(*arguments)
    return await future


def cancelling() -> bool:
    """Return whether the running task itself is being cancelled, rather than something it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _where(error: BaseException) -> str:
    """Return the innermost frame of an error as text for a log line, which has no traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
