"""The asynchronous driver of one call. It carries out, with gRPC and the layers, what the machine decides."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import AioRpcError

from grpcmesh.call import ClientCall
from grpcmesh.client.attempt import NOTHING, DoneCallback, NativeAttempt, StreamedDoneCallback
from grpcmesh.client.failures import error_of, outcome_of
from grpcmesh.client.listeners import Listeners
from grpcmesh.client.machines import CallMachine, Do, Status
from grpcmesh.client.metadata import InvalidMetadata, Pairs, Sent, check, pairs
from grpcmesh.client.requests import serialized_requests
from grpcmesh.client.stack import Hook
from grpcmesh.client.timeouts import quantized
from grpcmesh.errors import MeshError
from grpcmesh.hooks import let_through
from grpcmesh.status import ATTEMPTS_KEY, TIMEOUT_KEY, to_wire

if TYPE_CHECKING:
    from grpcmesh.client.core import Core, Timer
    from grpcmesh.client.spec import Spec

_INTERNAL, _UNAVAILABLE = grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE
_PICK, _END = Do.PICK, Do.END


class Flight(Listeners):
    """A call in flight.

    Args:
        request: One message, or the iterator of a request stream, or None if the caller writes requests.
        patient: Whether the call waits for an endpoint until its deadline (gRPC's `wait_for_ready`).
        options: Keyword arguments of the native call.
    """

    # Fields that most calls never change are class attributes, so that a call has less to set up.
    #: The attempt that reads and writes go to: it runs or has decided the call. None between two attempts.
    attempt: NativeAttempt | None = None
    done = False
    error: grpc.RpcError | None = None
    #: The request metadata, validated.
    metadata: Pairs
    #: Returns the exception that the caller catches for a status.
    error_of: Callable[[Status], grpc.RpcError] = staticmethod(error_of)
    #: The done callback of calls with a request stream.
    streamed_callback: type[DoneCallback] = StreamedDoneCallback
    _ends: tuple[Hook, ...] = ()
    _timer: "Timer | None" = None
    _hedge: "Timer | None" = None

    def __init__(
        self,
        core: "Core",
        spec: "Spec",
        call: ClientCall,
        request: Any,
        patient: bool,
        options: dict[str, Any],
    ) -> None:
        self.core, self.spec, self.call = core, spec, call
        self.request, self.options = request, options
        #: The settings in force when the call began.
        self.settings = settings = spec.settings
        self.machine = CallMachine(call, settings.rules, patient)
        self.waiters = []

    # -- the caller ------------------------------------------------------------------------------

    def begin(self, metadata: Any) -> None:
        """Enter the call stack and make the first attempt.

        Args:
            metadata: Request metadata as the caller gave it; it is checked here.
        """
        self.core.calls[self] = None
        try:
            self._begin(metadata)
        except BaseException as e:  # values of the caller or of a layer that nobody has thought of
            let_through(e)
            details = f"the call could not be begun: {type(e).__name__}"
            self.fail(Status(_INTERNAL, details, final=True, cause=e))

    def _begin(self, metadata: Any) -> None:
        core, call, spec = self.core, self.call, self.spec
        if metadata and not self._take(metadata):
            return
        entered, self._ends = 0, spec.hooks.ends
        try:
            for start in spec.hooks.starts:
                start(call)
                entered += 1
        except BaseException as e:
            if not self._resume(entered, e):
                return
        try:
            # A copy: what an attempt layer adds to the call's own would not have been checked.
            self.metadata = check(call.metadata)
        except InvalidMetadata as e:
            self.fail(Status(_INTERNAL, str(e), final=True))
            return
        if spec.streams_requests:
            if self.request is not None:
                self.request = serialized_requests(self.request, self)
        else:
            call.sent = 1
            self.request = self.serialized(self.request)
            if self.request is NOTHING:
                return
        core.budget.called(call.started)
        if self.machine.start(call.started) is _PICK:
            self._attempt(call.started)
        else:
            self._finish()

    def serialized(self, request: Any) -> Any:
        """Return a request as bytes. If that fails, end the call and return `NOTHING`."""
        try:
            data = self.spec.serialize(request)
        except BaseException as e:
            let_through(e)
            details = f"Exception serializing request! {type(e).__name__}: {e}"
            self.fail(Status(_INTERNAL, details, final=True, cause=e))
            return NOTHING
        limit, size = self.settings.max_request, len(data)
        if limit is not None and size > limit:
            details = f"Sent message larger than max ({size} vs. {limit})"
            self.fail(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, details, final=True))
            return NOTHING
        self.call.sent_bytes += size
        return data

    def cancel(self, details: str = "Locally cancelled by application!") -> bool:
        """Cancel the call now. Return False if it has ended already."""
        if self.done:
            return False
        self._perform(self.machine.cancel(details))
        return True

    def fail(self, status: Status) -> None:
        """End the call with a failure that arose on this side."""
        self._perform(self.machine.fail(status))

    def expire(self) -> None:
        """End the call with DEADLINE_EXCEEDED."""
        core = self.core
        self._perform(self.machine.expire("" if core.balancer.rotation else f" while {core.why()}"))

    def outcome(self) -> BaseException:
        """Return what to raise for a call that failed."""
        status = self.machine.status
        assert status is not None
        assert isinstance(self.error, AioRpcError)
        return outcome_of(status, self.error)

    # -- the attempts ----------------------------------------------------------------------------

    def delivered(self, attempt: NativeAttempt) -> None:
        """Note that the caller sees this attempt's answer, and abandon the other attempts."""
        for loser in self.machine.delivered(attempt):
            self._abandon(loser)

    def decided(self, attempt: NativeAttempt) -> None:
        """Note that this attempt was the first of several to answer (hedging), and abandon the others."""
        for loser in self.machine.delivered(attempt, self.core.clock()):
            self._abandon(loser)
        self.attempt = attempt
        self._tell()

    def ended(self, attempt: NativeAttempt, status: Status | None) -> None:
        """Handle the end of an attempt: run its hooks, then retry or end the call.

        Idempotent: later reports about the same attempt are ignored. `status`: None for OK.
        """
        core = self.core
        now = core.clock()
        if not attempt.end(status, now):
            return
        connection = attempt.connection
        del connection.attempts[attempt]
        if connection.idle is not None and not connection.attempts:
            connection.idle.set()
        for end in attempt.ends:
            try:
                end(attempt)
            except BaseException as e:
                core.errors.note(end, e)
        for hook in self.spec.hooks.attempted:
            try:
                hook(self.call, attempt.code)
            except BaseException as e:
                core.errors.note(hook, e)
        del attempt.flight  # or the two would wait for the garbage collector
        do = self.machine.attempt_ended(attempt, now)
        if do is _END:
            self._finish()
            return
        if self.machine.live and attempt is self.attempt:
            # Whoever waits for this one's metadata goes on with one that runs (hedging).
            running: Any = self.machine.live[-1]
            self.attempt = running
            self._tell()
        self._perform(do)

    # -- the pool --------------------------------------------------------------------------------

    def resume(self) -> None:
        """Try again to pick an endpoint: there is one now, or there is nothing left to wait for."""
        self._stop_timers()
        self._perform(self.machine.endpoints_changed(self.core.clock()))

    # -- what the machine decides ----------------------------------------------------------------

    def _perform(self, do: Do) -> None:
        if do is Do.NOTHING:
            return
        if do is _END:
            self._finish()
        elif do is _PICK:
            self._attempt(self.core.clock())
        elif do is Do.HEDGE:
            self._hedge_in(self.machine.wait)
        elif do is Do.BACKOFF:
            self.attempt = None
            self._timer = self.core.later(self.machine.wait, self._backoff_over)
        else:
            self._wait()

    def _backoff_over(self) -> None:
        self._timer = None
        self._perform(self.machine.backoff_over(self.core.clock()))

    def _wait(self) -> None:
        self.core.pool.waiting[self] = None
        self.watch_deadline()

    def watch_deadline(self) -> None:
        """Start a timer that ends the call at its deadline, for when no native call does."""
        deadline = self.call.deadline
        if deadline is not None and self._timer is None:
            self._timer = self.core.later(deadline - self.core.clock(), self.expire)

    def _attempt(self, now: float) -> None:
        core, machine, spec, call = self.core, self.machine, self.spec, self.call
        try:
            endpoint = core.balancer.pick(machine.avoid, call, self.settings.rules.idempotent)
        except BaseException as e:
            core.errors.note(core.balancer.pick, e)
            self.fail(Status(_INTERNAL, f"no endpoint could be picked: {e!r}", final=True, cause=e))
            return
        if endpoint is None:
            self._without_endpoint(now)
            return
        attempt = self.attempt = spec.attempt(self, endpoint, call.attempts + 1, now)
        sent = self.metadata
        if machine.sent:
            sent = [*sent, (ATTEMPTS_KEY, str(machine.sent))]
        timeout = None if call.deadline is None else call.deadline - now
        limit = self.settings.rules.attempt_timeout
        if limit is not None and (timeout is None or limit < timeout):
            timeout = limit
        if timeout is not None and (told := quantized(timeout)):
            sent, timeout = [*sent, (TIMEOUT_KEY, str(told))], told / 1000
        hedge = machine.begun(attempt)
        if hedge is not None:
            self._hedge_in(hedge)
        attempt.connection.attempts[attempt] = None
        self._send(attempt, sent, timeout)

    def _hedge_in(self, seconds: float) -> None:
        if self._hedge is not None:
            self._hedge.cancel()
        self._hedge = self.core.later(seconds, self._hedge_due)

    def _hedge_due(self) -> None:
        self._hedge = None
        self._perform(self.machine.hedge_due(self.core.clock()))

    def _without_endpoint(self, now: float) -> None:
        core, machine = self.core, self.machine
        may_wait = core.may_wait(machine.patient)
        if may_wait and (refusal := core.breaker.refuse_waiting(len(core.pool.waiting))):
            self.fail(_refused(refusal))
            return
        self._perform(machine.without_endpoint(now, may_wait, core.why(self.call.method.service)))

    def _send(self, attempt: NativeAttempt, sent: Pairs, timeout: float | None) -> None:
        spec, connection, entered = self.spec, attempt.connection, 0
        attempt.ends = spec.attempt_hooks.ends
        try:
            for start in spec.attempt_hooks.starts:
                start(attempt)
                entered += 1
        except BaseException as e:
            if not self._resume_attempt(attempt, entered, e):
                return
        try:
            make = spec.natives.get(connection) or spec.bind(connection)
            if self.options:
                native = make(self.request, timeout=timeout, metadata=Sent(sent), **self.options)
            else:  # a call with `**` costs more, also where there is nothing in it
                native = make(self.request, timeout=timeout, metadata=Sent(sent))
            attempt.native = native
            callback = DoneCallback if self.settings.rules.resendable else self.streamed_callback
            native.add_done_callback(callback(attempt))
        except Exception as e:
            attempt.abandon(_unsendable(e, connection.closed))
            return
        if self.waiters:
            self._tell()

    def _finish(self) -> None:
        core, call, machine = self.core, self.call, self.machine
        status = machine.status
        if self._timer is not None or self._hedge is not None:
            self._stop_timers()
        core.calls.pop(self, None)
        if core.idle is not None:
            core.ended()
        if core.pool.waiting:
            core.pool.waiting.pop(self, None)
        for attempt in tuple(machine.live):
            self._abandon(attempt)
        if status is not None:
            call.error = self.error = self.error_of(status)
        else:
            winner: Any = machine.winner
            self.attempt = winner
        call.ended = core.clock()
        self.done = True
        for end in self._ends:
            try:
                end(call)
            except BaseException as e:
                core.errors.note(end, e)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.callbacks is not None:
            self._call_back()

    def _abandon(self, attempt: Any) -> None:
        status = self.machine.status
        code = grpc.StatusCode.CANCELLED if status is None else status.code
        attempt.abandon(Status(code, "the call needs this attempt no longer", final=True))

    # -- hooks that raise, and listeners ---------------------------------------------------------

    def _take(self, metadata: Any) -> bool:
        """Take the caller's metadata. If it is invalid, end the call and return False."""
        try:
            self.call.metadata.extend(pairs(metadata))
        except InvalidMetadata as e:
            self.fail(Status(_INTERNAL, str(e), final=True))
            return False
        return True

    def _resume(self, entered: int, error: BaseException) -> bool:
        """Continue after a hook of the call has raised. Return False if a layer refused, which ends it."""
        self._ends, refusal = self.spec.hooks.resume(self.call, entered, error, self.core.errors)
        if refusal is not None:
            self.fail(_refused(refusal))
        return refusal is None

    def _resume_attempt(self, attempt: NativeAttempt, entered: int, error: BaseException) -> bool:
        """Continue after a hook of the attempt has raised. Return False if a layer refused, which ends it."""
        hooks = self.spec.attempt_hooks
        attempt.ends, refusal = hooks.resume(attempt, entered, error, self.core.errors)
        if refusal is not None:
            self.ended(attempt, _refused(refusal))
        return refusal is None

    def _stop_timers(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._hedge is not None:
            self._hedge.cancel()
            self._hedge = None


def _unsendable(error: Exception, closed: bool) -> Status:
    if closed:
        return Status(_UNAVAILABLE, "the connection has been closed", unsent=True, cause=error)
    # Options that gRPC does not take.
    return Status(_INTERNAL, f"the call cannot be sent: {error!r}", final=True, cause=error)


def _refused(error: MeshError) -> Status:
    code, details, trailing = to_wire(error)
    return Status(code, details, trailing=trailing, final=True)
