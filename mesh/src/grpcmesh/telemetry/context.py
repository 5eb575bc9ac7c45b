"""The trace, span and baggage of the running task."""

from contextvars import Context, ContextVar
from typing import Any

from grpcmesh.call import ServerCall, TraceContext, current_call
from grpcmesh.telemetry.w3c import baggage_items


class Active:
    """The trace of a step or of an HTTP request, inside or outside a served gRPC call.

    Args:
        trace: The trace context.
        span: The sampled span, or None.
        baggage: The baggage of an HTTP request. If None, that of the enclosing step or call.
    """

    __slots__ = ("baggage", "call", "outer", "over", "span", "trace")

    def __init__(self, trace: TraceContext, span: Any, baggage: str | None = None) -> None:
        self.trace, self.span = trace, span
        self.baggage = sent_baggage() if baggage is None else baggage
        #: The served call that it is inside of. It does not apply to a call served later in the same context.
        self.call = current_call.get()
        #: Whether the step or request has ended. Tasks that outlive it are no longer part of it.
        self.over = False
        self.outer = _live(active.get())
        if self.outer is not None:
            # Tasks that create tasks would otherwise hold an ever longer chain of steps that have ended.
            self.outer.outer = _live(self.outer.outer)


#: Set by `Step`, and so by `TraceMiddleware`.
active: ContextVar[Active | None] = ContextVar("active_trace", default=None)


def _live(inner: Active | None) -> Active | None:
    """Return the innermost step or request that has not ended, or None."""
    while inner is not None and inner.over:
        inner = inner.outer
    return inner


def innermost() -> "Active | ServerCall | None":
    """Return the step, HTTP request or served call that the running task is part of, or None.

    Its `trace`, `span` and `baggage` are those of the task.
    """
    inner, call = active.get(), current_call.get()
    if inner is not None:
        inner = _live(inner)
    return inner if inner is not None and (call is None or inner.call is call) else call


def current_trace() -> TraceContext | None:
    """Return the trace of the running task: that of its step, HTTP request or served call; or None."""
    inner = innermost()
    return inner.trace if inner is not None else None


def current_span() -> Any:
    """Return the sampled OpenTelemetry span of the running task, or None."""
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
    """Return the `baggage` that calls of the running task forward; empty if there is none."""
    inner = innermost()
    return inner.baggage if inner is not None else ""


def current_baggage() -> dict[str, str]:
    """Return the decoded W3C baggage of the running task. It comes from callers, so do not trust it."""
    return baggage_items(sent_baggage())


def annotate(**attributes: str | int | float | bool) -> None:
    """Set attributes on the current span, if it is sampled; `order_id=7` becomes `order.id`.

    Meant for keys by which people look up a trace. Do not use it for payloads or secrets.
    """
    span = current_span()
    if span is not None:
        span.set_attributes({key.replace("_", ".", 1): value for key, value in attributes.items()})
