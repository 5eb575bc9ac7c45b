"""The driver of calls in threads. The base class carries out what the machine decides; here with a lock.

A call whose caller waits for it runs in the caller's thread (`BlockingFlight`). Futures and streams run in
the threads that gRPC has for a synchronous channel.
"""

import concurrent.futures
import time
from typing import TYPE_CHECKING, Any

from grpcmesh.client.attempt import DoneCallback, NativeAttempt
from grpcmesh.client.flight import Flight
from grpcmesh.client.machines import Status
from grpcmesh.client.sync.attempt import UnaryAttempt
from grpcmesh.client.sync.errors import MeshRpcError

if TYPE_CHECKING:
    from grpcmesh.client.sync.locked import SyncCore

_INTERRUPTED = "the thread of the caller was interrupted"


class SyncFlight(Flight):
    """A call in flight that threads make. Each event takes the lock of the channel."""

    core: "SyncCore"
    error_of = MeshRpcError
    streamed_callback = DoneCallback

    def __init__(self, core: "SyncCore", *arguments: Any) -> None:
        super().__init__(core, *arguments)
        self.lock = core.lock

    # -- events, which may come in any thread ----------------------------------------------------

    def begin(self, metadata: Any) -> None:
        with self.lock:
            super().begin(metadata)

    def cancel(self, details: str = "Locally cancelled by application!") -> bool:
        with self.lock:
            return super().cancel(details)

    def fail(self, status: Status) -> None:
        with self.lock:
            super().fail(status)

    def expire(self) -> None:
        with self.lock:
            super().expire()

    def delivered(self, attempt: NativeAttempt) -> None:
        with self.lock:
            super().delivered(attempt)

    def ended(self, attempt: NativeAttempt, status: Status | None) -> None:
        with self.lock:
            super().ended(attempt, status)

    def resume(self) -> None:
        with self.lock:
            super().resume()

    def _backoff_over(self) -> None:
        with self.lock:
            super()._backoff_over()

    def _hedge_due(self) -> None:
        with self.lock:
            super()._hedge_due()

    def inherited(self, error: BaseException) -> None:
        """Handle a fork: in the child process, every use of the call raises this error."""
        self.waiters, self.callbacks = [], None
        self.error, self.done = error, True  # type: ignore[assignment]

    # -- waiting ---------------------------------------------------------------------------------

    def changed(self) -> Any:
        """Return a new future that is done when an attempt begins and when the call ends."""
        waiter: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.waiters.append(waiter)  # type: ignore[arg-type]
        return waiter

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the call has ended, for at most `timeout` seconds. Return whether it has."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            with self.lock:
                if self.done:
                    return True
                waiter = self.changed()
            if not self._changes(waiter, until):
                return self.done

    def next_attempt(self, last: NativeAttempt | None = None) -> NativeAttempt | None:
        """Wait for an attempt that runs, other than `last`. Return None if the call has ended."""
        while True:
            with self.lock:
                attempt = self.attempt
                if self.done:
                    return None
                if attempt is not None and attempt is not last and attempt.native is not None:
                    return attempt
                waiter = self.changed()
            self._changes(waiter, None)

    def _changes(self, waiter: Any, until: float | None) -> bool:
        """Wait for a change. Return False if there was none until the time `until`."""
        self.core.host.refuse_own_thread()
        try:
            waiter.result(None if until is None else max(0.0, until - time.monotonic()))
        except concurrent.futures.TimeoutError:
            with self.lock:
                if waiter in self.waiters:
                    self.waiters.remove(waiter)
            return False
        return True

    def _call_back(self) -> None:
        # Not under the lock that the thread holds now: a callback may wait for other calls.
        callbacks, self.callbacks = self.callbacks, None
        for callback in callbacks or ():
            self.core.host.dispatch(callback)

    def run(self) -> None:
        """Return when the call has ended. If the thread is interrupted, cancel the call."""
        try:
            self.wait()
        except BaseException:
            self.cancel(_INTERRUPTED)
            raise

    def returned(self) -> Any:
        """Return the response of the call, which has ended. Raises its error."""
        if self.error is not None:
            raise self.error
        winner = self.machine.winner
        assert isinstance(winner, UnaryAttempt)
        return winner.message


class BlockingFlight(SyncFlight):
    """A unary call that the thread of its caller makes: the machine decides in any thread, `run` sends."""

    def run(self) -> None:
        attempt: NativeAttempt | None = None
        try:
            while not self.done:
                running = self.attempt
                if running is None or running is attempt or running.native is None:
                    running = self.next_attempt(attempt)
                attempt = running
                if isinstance(attempt, UnaryAttempt):
                    attempt.exchange()
        except BaseException:  # above all KeyboardInterrupt: the call must not go on without its caller
            self.cancel(_INTERRUPTED)
            raise
