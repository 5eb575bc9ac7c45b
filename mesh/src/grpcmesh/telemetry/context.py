"""Which trace the running task belongs to, and how a trace travels: W3C `traceparent`."""

import re
from contextvars import Context, ContextVar
from typing import Any

from grpcmesh.call import ServerCall, TraceContext, current_call

#: Metadata key and HTTP header (https://www.w3.org/TR/trace-context/#traceparent-header).
TRACEPARENT = "traceparent"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


class Active:
    """A trace inside of, or without, a served gRPC call: that of a step or of an HTTP request.

    Args:
        trace: Its context.
        span: The sampled span, or None.
    """

    __slots__ = ("call", "outer", "over", "span", "trace")

    def __init__(self, trace: TraceContext, span: Any) -> None:
        self.trace, self.span = trace, span
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


def _innermost() -> "Active | ServerCall | None":
    inner, call = _live(active.get()), current_call.get()
    return inner if inner is not None and (call is None or inner.call is call) else call


def current_trace() -> TraceContext | None:
    """The trace of the running task: its step's, its HTTP request's or its served call's; or None."""
    inner = _innermost()
    return inner.trace if inner is not None else None


def current_span() -> Any:
    """The sampled OpenTelemetry span of the running task, or None."""
    inner = _innermost()
    return inner.span if inner is not None else None


def detached_context() -> Context:
    """Return a context for a task that must outlast the call, the step or the request that creates it.

    The task belongs to the same trace, which its log lines and calls carry, and inherits nothing else: no
    deadline, caller or user. Pass it as `context=` to `asyncio.create_task`.
    """
    context = Context()
    trace = current_trace()
    if trace is not None:
        context.run(lambda: active.set(Active(trace, None)))
    return context


def annotate(**attributes: str | int | float | bool) -> None:
    """Sets attributes on the current span, if it is sampled; `order_id=7` becomes `order.id`.

    Meant for keys a person looks a trace up by; never for payloads or secrets.
    """
    span = current_span()
    if span is not None:
        span.set_attributes({key.replace("_", ".", 1): value for key, value in attributes.items()})


def parse_traceparent(value: str | bytes | None) -> TraceContext | None:
    """The context of a `traceparent`, or None where it is absent or malformed (then a new trace begins)."""
    if value is None:
        return None
    found = _FORM.fullmatch(value if isinstance(value, str) else value.decode("latin-1"))
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    # Version 00 ends after the flags; a later one may go on; ff and all-zero ids are invalid.
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


def format_traceparent(trace: TraceContext) -> str:
    """The `traceparent` to send."""
    return f"00-{trace.trace_id}-{trace.span_id}-{'01' if trace.sampled else '00'}"
