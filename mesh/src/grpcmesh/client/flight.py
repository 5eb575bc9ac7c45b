"""One logical call: its attempts, from the first hook of the stack to the last.

There is no task here. An attempt is a native call, begun at once; gRPC's own done callback moves the
call on, whether or not anybody awaits it. That is what keeps a call cheap, makes fire-and-forget work,
and keeps the count of calls in flight right in every case.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc.aio import AioRpcError, Metadata

from grpcmesh.balancer import LOAD_KEY, Endpoint, LoadReport
from grpcmesh.call import ClientCall
from grpcmesh.client.connection import Connection
from grpcmesh.errors import MeshError
from grpcmesh.retry import Failure, pushback_of
from grpcmesh.status import ATTEMPTS_KEY, to_wire

if TYPE_CHECKING:
    from grpcmesh.client.core import Core
    from grpcmesh.client.spec import Spec

_T = TypeVar("_T")
_OK, _UNAVAILABLE, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED


def settled(coroutine: Coroutine[Any, Any, _T], default: _T) -> _T:
    """The result of a coroutine that has nothing to wait for: those of a call that has ended."""
    try:
        coroutine.send(None)
    except StopIteration as e:
        result: _T = e.value
        return result
    coroutine.close()
    return default


class Flight:
    """The state of one call.

    Args:
        request: Serialized, or the iterator of a request stream, or None where requests are written.
        options: Keyword arguments of the native call.
    """

    __slots__ = (
        "_avoid",
        "_began",
        "_connection",
        "_endpoint",
        "_entered",
        "_sent",
        "_timer",
        "_waiters",
        "call",
        "callbacks",
        "cancelled",
        "committed",
        "core",
        "done",
        "error",
        "native",
        "options",
        "request",
        "spec",
        "wait_for_ready",
    )

    def __init__(
        self,
        core: "Core",
        spec: "Spec",
        call: ClientCall,
        request: Any,
        wait_for_ready: bool,
        options: dict[str, Any],
    ) -> None:
        self.core, self.spec, self.call, self.request = core, spec, call, request
        self.wait_for_ready, self.options = wait_for_ready, options
        #: The native call of the attempt that runs or has decided the call; None between attempts.
        self.native: Any = None
        self.done = self.cancelled = False
        #: The caller has seen a part of an attempt, so there will be no other.
        self.committed = False
        self.error: AioRpcError | None = None
        self.callbacks: list[Callable[[], None]] | None = None
        self._endpoint: Endpoint
        self._connection: Connection
        self._began = call.started
        self._avoid: Endpoint | None = None
        self._entered = self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def begin(self) -> None:
        """Enters the stack and makes the first attempt."""
        call = self.call
        try:
            for start in self.core.starts:
                start(call)
                self._entered += 1
        except MeshError as e:
            code, details, trailing = to_wire(e)
            self._finish(code, AioRpcError(code, Metadata(), Metadata.from_tuple(trailing), details))
            return
        self.core.budget.called(call.started)
        self._attempt(call.started)

    def resume(self) -> None:
        """Tries again: an endpoint may be there now, or the wait of a retry is over."""
        self._stop_timer()
        if not self.done:
            self._attempt(self.core.clock())

    def cancel(self) -> bool:
        """Ends the call now. False where it has ended already."""
        if self.done:
            return False
        self.cancelled = True
        if self.native is not None:
            # Ends through its done callback, which runs at once.
            self.native.cancel()
        if not self.done:
            self._finish(_CANCELLED, _error(_CANCELLED, "Locally cancelled by application!"))
        return True

    async def wait(self) -> None:
        """Until there is a native call, or the end."""
        while self.native is None and not self.done:
            await self._changed()

    async def wait_done(self) -> None:
        """Until the end."""
        while not self.done:
            await self._changed()

    async def _changed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters = [*(self._waiters or ()), waiter]
        await waiter

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _attempt(self, now: float) -> None:
        call = self.call
        timeout = None if call.deadline is None else call.deadline - now
        if timeout is not None and timeout <= 0:
            self._expire()
            return
        endpoint = self._pick()
        if endpoint is None:
            self._without_endpoint(timeout)
            return
        connection: Connection = endpoint.transport
        call.attempts += 1
        call.endpoint = endpoint.address
        self._endpoint, self._connection, self._began = endpoint, connection, now
        metadata = call.metadata
        if self._sent:
            metadata = [*metadata, (ATTEMPTS_KEY, str(self._sent))]
        self._sent += 1
        self.native = native = self.spec.native(connection)(
            self.request, timeout=timeout, metadata=metadata, **self.options
        )
        endpoint.in_flight += 1
        connection.in_flight += 1
        native.add_done_callback(self._ended)
        if self._waiters:
            self._tell()

    def _pick(self) -> Endpoint | None:
        balancer, avoid = self.core.balancer, self._avoid
        endpoint = balancer.pick(avoid, self.call)
        if self.spec.idempotent:
            return endpoint
        # A call that cannot be retried is worth a look at the connection: the news that it broke may be
        # on its way. One that is found broken has left the rotation.
        while endpoint is not None and not endpoint.transport.check():
            endpoint = balancer.pick(avoid, self.call)
        return endpoint

    def _without_endpoint(self, timeout: float | None) -> None:
        if self.core.should_wait(self):
            self.core.pool.waiting[self] = None
            if timeout is not None:
                self._timer = asyncio.get_running_loop().call_later(timeout, self._expire)
            return
        self._failed(_error(_UNAVAILABLE, self.core.why()), unsent=True)

    def _expire(self) -> None:
        where = "" if self.core.balancer.rotation else f" while {self.core.why()}"
        code = grpc.StatusCode.DEADLINE_EXCEEDED
        self._finish(code, _error(code, f"Deadline Exceeded{where}"))

    def _ended(self, native: Any) -> None:
        """The native call has ended, in whatever way."""
        code = settled(native.code(), grpc.StatusCode.UNKNOWN)
        endpoint, policy = self._endpoint, self.core.balancer.policy
        endpoint.in_flight -= 1
        self._connection.release()
        if policy.wants_latency:
            policy.ended(endpoint, self.core.clock() - self._began, code is _OK)
        if policy.wants_reports:
            self._report(native)
        for hook in self.core.attempts:
            hook(self.call, code)
        if code is _OK:
            endpoint.successes += 1
            self.call.received = self.call.received or 1
            self._finish(code, None)
            return
        endpoint.failed(code.name)
        if code is _UNAVAILABLE:
            self._connection.check()
        self._failed(_snapshot(native, code))

    def _report(self, native: Any) -> None:
        for key, value in settled(native.trailing_metadata(), ()):
            if key == LOAD_KEY and (report := LoadReport.decode(value)):
                self.core.balancer.policy.reported(self._endpoint, report)

    def _failed(self, error: AioRpcError, unsent: bool = False) -> None:
        if self.committed or self.cancelled or (wait := self._again(error, unsent)) is None:
            self._finish(error.code(), error)
            return
        self._avoid, self.native = None if unsent else self._endpoint, None
        self._timer = asyncio.get_running_loop().call_later(wait, self.resume)

    def _again(self, error: AioRpcError, unsent: bool) -> float | None:
        """Seconds until the next attempt, or None."""
        call, now = self.call, self.core.clock()
        if unsent:
            call.attempts += 1
        elif self.spec.method.kind.request_streaming:
            return None
        failure = Failure(
            attempt=call.attempts,
            code=error.code(),
            idempotent=self.spec.idempotent,
            unsent=unsent,
            pushback=pushback_of(error.trailing_metadata() or ()),
            remaining=None if call.deadline is None else call.deadline - now,
        )
        return self.core.retry.again(failure, now)

    def _finish(self, code: grpc.StatusCode, error: AioRpcError | None) -> None:
        self._stop_timer()
        self.core.pool.waiting.pop(self, None)
        call = self.call
        call.code, call.error, call.ended = code, error, self.core.clock()
        self.error, self.done = error, True
        for end in self.core.unwinds[self._entered]:
            end(call)
        if self._waiters:
            self._tell()
        for callback in self.callbacks or ():
            callback()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _error(code: grpc.StatusCode, details: str) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details)


def _snapshot(native: Any, code: grpc.StatusCode) -> AioRpcError:
    return AioRpcError(
        code,
        settled(native.initial_metadata(), Metadata()),
        settled(native.trailing_metadata(), Metadata()),
        settled(native.details(), ""),
        settled(native.debug_error_string(), ""),
    )
