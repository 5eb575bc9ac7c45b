"""Keeps the accept loop of a grpc.aio server alive whatever a request holds, and detects its end.

grpc.aio accepts all calls of a server in one task. Since grpcio 1.84 that task decodes the `:path` of a
request, which may hold any bytes, as strict UTF-8. A path that is not UTF-8 raises an error that ends the
task, and with it the server. Older versions decode it in the task of the call: only that call ends, with
UNKNOWN, but three stack traces are logged and no layer counts it. There is no hook before that decoding: no
interceptor, handler or channel argument sees such a request earlier. The only place left is Python's
registry of codec error handlers. The handler here returns U+FFFD when an accept loop decodes, or the task of
a call whose handler has not been looked up yet, and behaves as `strict` does anywhere else. The task of a
call with such a path stays lenient to its end: grpc decodes the path once more for a log line if the caller
leaves early, and no code of an application runs there.

It uses no private name of grpc: `start()` of a server creates its accept loop before it first suspends, and
a task inherits the context variables of the task that creates it.
`tests/integration/test_hostile_requests.py` fails with a version of grpcio that works in another way.
"""

import asyncio
import codecs
import types
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any

import grpc

#: The replacement, in a decoded path, of bytes that are not UTF-8. No method has it in its name.
REPLACEMENT = "\ufffd"

#: Whether grpc runs: true in an accept loop and in the tasks that it creates, until `looked_up`.
_accepting: ContextVar[bool] = ContextVar("_accepting", default=False)


class AcceptLoopEndedError(Exception):
    """Raised if the accept loop of a server has ended although nobody stopped the server."""


class Accepting:
    """Starts the accept loop of one server and watches for its end.

    Args:
        what: Names the server in errors, such as "the mesh port".
        on_ended: Called at once when the loop has ended although nobody stopped the server.
    """

    def __init__(self, what: str, on_ended: Callable[[], None] = lambda: None) -> None:
        self._what, self._on_ended = what, on_ended
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        #: Whether the server is being stopped. Set it before stopping the server.
        self.stopping = False

    async def start(self, server: grpc.aio.Server) -> None:
        """Start a server whose accept loop survives a `:path` that is not UTF-8.

        Args:
            server: A server with its ports added, not started yet.

        Raises:
            RuntimeError: This version of grpcio starts its accept loop in another way.
        """
        codecs.register_error("strict", _strict)
        token = _accepting.set(True)
        try:
            created = await _run(server.start())
        finally:
            _accepting.reset(token)
        if len(created) != 1:
            self.stopping = True
            await server.stop(None)
            raise RuntimeError(f"grpcio {grpc.__version__} is not supported: it starts {len(created)} tasks")
        (loop,) = created
        loop.add_done_callback(self._loop_ended)

    async def wait(self) -> None:
        """Wait for the end of the accept loop.

        Raises:
            AcceptLoopEndedError: It has ended although nobody stopped the server.
        """
        await self._ended.wait()
        if not self.stopping:
            raise AcceptLoopEndedError(f"the accept loop of {self._what} has ended") from self._error

    def _loop_ended(self, loop: asyncio.Task[Any]) -> None:
        self._error = None if loop.cancelled() else loop.exception()
        self._ended.set()
        if not self.stopping:
            self._on_ended()


def looked_up() -> None:
    """Make the current task decode strictly from now on: the path of its call is valid UTF-8."""
    _accepting.set(False)


@types.coroutine
def _run(coroutine: Any) -> Generator[Any, Any, set[asyncio.Task[Any]]]:
    """Run a coroutine, and return the tasks that it created before it first suspended.

    No other task runs until then, so the coroutine itself created them.
    """
    before = asyncio.all_tasks()
    steps = coroutine.__await__()
    first = next(steps)
    created = asyncio.all_tasks() - before
    yield first
    yield from steps
    return created


def _strict(error: UnicodeError) -> tuple[str | bytes, int]:
    """Handle an error of the codec error handler `strict`, which is the default of `bytes.decode`."""
    if isinstance(error, UnicodeDecodeError) and _accepting.get():
        return REPLACEMENT, error.end
    return codecs.strict_errors(error)
