"""Which trace the running task belongs to, and what travels with it."""

from contextvars import Context, ContextVar
from typing import Any

from grpcmesh.call import ServerCall, TraceContext, current_call
from grpcmesh.telemetry.w3c import baggage_items


class Active:
    """A trace inside of, or without, a served gRPC call: that of a step or of an HTTP request.

    Args:
        trace: Its context.
        span: The sampled span, or None.
        baggage: What an HTTP request brought along; None: what is around this has it.
    """

    __slots__ = ("baggage", "call", "outer", "over", "span", "trace")

    def __init__(self, trace: TraceContext, span: Any, baggage: str | None = None) -> None:
        self.trace, self.span = trace, span
        self.baggage = sent_baggage() if baggage is None else baggage
        #: The call it is inside of: a call served later in the same context is not part of it.
        self.call = current_call.get()
        #: True once the step or request has ended: tasks that outlive it are no longer part of it.
        self.over = False
        self.outer = _live(active.get())
        if self.outer is not None:
            # Tasks that create tasks would otherwise hold an ever longer chain of steps that have ended.
            self.outer.outer = _live(self.outer.outer)


#: Set by `Step`, and so by `TraceMiddleware`.
active: ContextVar[Active | None] = ContextVar("active_trace", default=None)


def _live(inner: Active | None) -> Active | None:
    """The innermost one that has not ended."""
    while inner is not None and inner.over:
        inner = inner.outer
    return inner


def innermost() -> "Active | ServerCall | None":
    """What the running task is part of: its `trace`, `span` and `baggage` are those of the task."""
    inner, call = active.get(), current_call.get()
    if inner is not None:
        inner = _live(inner)
    return inner if inner is not None and (call is None or inner.call is call) else call


def current_trace() -> TraceContext | None:
    """The trace of the running task: its step's, its HTTP request's or its served call's; or None."""
    inner = innermost()
    return inner.trace if inner is not None else None


def current_span() -> Any:
    """The sampled OpenTelemetry span of the running task, or None."""
    inner = innermost()
    return inner.span if inner is not None else None


def detached_context() -> Context:
    """Return a context for a task that must outlast the call, the step or the request that creates it.

    The task belongs to the same trace, which its log lines and calls carry, baggage included. It inherits
    nothing else: no deadline, caller or user. Pass it as `context=` to `asyncio.create_task`.
    """
    context = Context()
    trace, baggage = current_trace(), sent_baggage()
    if trace is not None:
        context.run(lambda: active.set(Active(trace, None, baggage)))
    return context


def sent_baggage() -> str:
    """The `baggage` that calls of the running task send on; empty where there is none."""
    inner = innermost()
    return inner.baggage if inner is not None else ""


def current_baggage() -> dict[str, str]:
    """Return the W3C baggage of the running task, decoded. It comes from callers: it proves nothing."""
    return baggage_items(sent_baggage())


def annotate(**attributes: str | int | float | bool) -> None:
    """Sets attributes on the current span, if it is sampled; `order_id=7` becomes `order.id`.

    Meant for keys a person looks a trace up by; never for payloads or secrets.
    """
    span = current_span()
    if span is not None:
        span.set_attributes({key.replace("_", ".", 1): value for key, value in attributes.items()})
