"""Runs calls through the layers of a server."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from grpcmesh import status
from grpcmesh.call import Method, Purpose, ServerCall, ServerLayer, current_call
from grpcmesh.errors import Injected, MeshError
from grpcmesh.hooks import HookErrors
from grpcmesh.server.context import encodable
from grpcmesh.server.outcome import Unimplemented, code_of, code_set, told, translate
from grpcmesh.server.streams import Stream

Hook = Callable[[ServerCall], None]

_log = logging.getLogger("mesh.server")


class Stack:
    """The hooks of the layers that apply to calls of one purpose, without those that do nothing.

    Args:
        layers: Outermost first. Layers that do not apply to the purpose are left out.
        replica: Name of this process, which is sent in the trailing metadata of each call.
        purpose: The purpose of the calls.
        errors: Counts errors of layers.
        error_domain: The domain of reasons in errors that name none.
    """

    def __init__(
        self,
        layers: Sequence[ServerLayer],
        replica: str = "",
        purpose: Purpose = Purpose.APPLICATION,
        errors: HookErrors | None = None,
        error_domain: str = "",
    ) -> None:
        named = ((status.REPLICA_KEY, replica),) if replica else ()
        self._trailing: tuple[tuple[str, str | bytes], ...] = named
        self._purpose, self._errors = purpose, errors or HookErrors("server")
        self._error_domain = error_domain
        ends: tuple[Hook, ...] = ()
        starts: list[tuple[Hook, ServerLayer, tuple[Hook, ...]]] = []
        for layer in layers:
            if purpose not in layer.applies_to:
                continue
            if type(layer).on_start is not ServerLayer.on_start:
                starts.append((layer.on_start, layer, ends))
            if type(layer).on_end is not ServerLayer.on_end:
                ends = (layer.on_end, *ends)
        #: Each start hook with its layer, and with the end hooks to run if it refuses the call.
        self.starts = tuple(starts)
        #: The end hooks, innermost first.
        self.ends = ends

    def begin(self, method: Method, context: Any) -> ServerCall:
        """Return a new call, which no layer has seen yet, and make it the current call of this task."""
        started, remaining = time.monotonic(), context.time_remaining()
        deadline = None if remaining is None else started + remaining
        sent = context.invocation_metadata()
        metadata = dict(sent)
        call = ServerCall(method, context, started, metadata, self._purpose, deadline)
        call.repeats = len(sent) > len(metadata)
        # Each call has a task of its own, so nothing needs restoring; `call.over` ends what tasks inherit.
        current_call.set(call)
        call.trailing = self._trailing
        return call

    def enter(self, call: ServerCall) -> None:
        """Run the start hooks. Afterwards, also if this raises, `succeed` or `fail` has to be called.

        Raises:
            MeshError: A layer refuses the call.
            Exception: A layer failed that does more than observe, so the call must not go on without it.
        """
        failed: tuple[ServerLayer, ...] = ()
        for hook, layer, ends in self.starts:
            try:
                hook(call)
            except BaseException as e:
                refused = isinstance(e, MeshError)
                if not refused:
                    self._errors.note(hook, e)
                if refused or not layer.observes:
                    call.ends = _without(ends, failed)
                    raise
                failed = (*failed, layer)
        call.ends = _without(self.ends, failed) if failed else self.ends
        call.context.set_trailing_metadata(call.trailing)

    def succeed(self, call: ServerCall) -> None:
        """End a call whose servicer returned. It may have set a code other than OK (`context.set_code`)."""
        context: Any = call.context
        if context.code():  # grpc's own is 0 while nothing is set
            call.code = code_set(context)
        try:
            trailing = context.trailing_metadata()
            if trailing is not call.trailing and not context.done():
                context.set_trailing_metadata((*trailing, *call.trailing))
        finally:
            self._finish(call)

    async def fail(self, call: ServerCall, raised: BaseException, stream: Stream | None = None) -> None:
        """End a call whose layer or servicer raised: run the end hooks, then abort it or raise for grpc."""
        error = call.error = translate(call, raised, stream)
        call.code = code_of(call, error)
        self._finish(call)
        if told(call, error):
            raise error
        if call.code is grpc.StatusCode.INTERNAL and not isinstance(error, Injected):
            _log.error("unexpected error in %s", call.method.full_name, exc_info=error)
        if stream is not None:
            await stream.hear_out()
        code, message, trailing = status.to_wire(error, self._error_domain)
        if isinstance(error, Unimplemented):
            code, message = call.code, error.message
        await call.context.abort(code, encodable(message), (*trailing, *call.trailing))

    def _finish(self, call: ServerCall) -> None:
        call.ended = time.monotonic()
        ends, call.ends = call.ends, ()
        for hook in ends:
            try:
                hook(call)
            except BaseException as e:
                # The call is over: its outcome stands, and the other layers hear of it.
                self._errors.note(hook, e)


def _without(ends: tuple[Hook, ...], layers: Sequence[ServerLayer]) -> tuple[Hook, ...]:
    """Return the end hooks without those of layers whose start hook failed."""
    return tuple(hook for hook in ends if not any(getattr(hook, "__self__", None) is one for one in layers))
