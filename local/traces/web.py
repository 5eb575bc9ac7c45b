"""The store's HTTP server: the list, the waterfall and the JSON API."""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from local.traces.list_page import render_list
from local.traces.model import Span, Trace
from local.traces.store import Query, TraceStore
from local.traces.trace_page import render_missing, render_trace

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000


class QueryError(Exception):
    """A parameter of the URL is not valid; the text says which."""


def web_app(store: TraceStore) -> Starlette:
    """Return the application: `/`, `/trace/ID`, `/api/traces`, `/api/traces/ID` and `/api/services`."""

    async def index(request: Request) -> Response:
        query, limit = parse_query(request)
        return HTMLResponse(render_list(store, query, store.find(query, limit)))

    async def waterfall(request: Request) -> Response:
        trace_id = request.path_params["trace_id"]
        trace = store.get(trace_id)
        if trace is None:
            return HTMLResponse(render_missing(trace_id), 404)
        return HTMLResponse(render_trace(trace, store.services()))

    async def api_list(request: Request) -> Response:
        query, limit = parse_query(request)
        return JSONResponse({"traces": [summary(trace) for trace in store.find(query, limit)]})

    async def api_trace(request: Request) -> Response:
        trace = store.get(request.path_params["trace_id"])
        if trace is None:
            return JSONResponse({"error": "no such trace"}, 404)
        return JSONResponse({**summary(trace), "spans": [span_json(span) for span, _ in trace.tree()]})

    async def api_services(request: Request) -> Response:
        return JSONResponse({"services": store.services()})

    routes = [
        Route("/", index),
        Route("/trace/{trace_id}", waterfall),
        Route("/api/traces", api_list),
        Route("/api/traces/{trace_id}", api_trace),
        Route("/api/services", api_services),
    ]
    return Starlette(routes=routes, exception_handlers={QueryError: _query_error})


async def _query_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


def parse_query(request: Request) -> tuple[Query, int]:
    """Parse `service`, `caller`, `replica`, `attr` (KEY=VALUE, repeatable), `error`, `min_ms` and `limit`.

    Raises:
        QueryError: one of them cannot be parsed.
    """
    get = request.query_params.get
    pairs = [_pair(raw) for raw in request.query_params.getlist("attr") if raw.strip()]
    try:
        min_ms = float(get("min_ms") or 0)
        limit = int(get("limit") or DEFAULT_LIMIT)
    except ValueError as error:
        raise QueryError("min_ms and limit must be numbers") from error
    if not min_ms >= 0:  # neither negative nor NaN
        raise QueryError("min_ms must not be negative")
    failed = get("error", "") not in ("", "0", "false")
    query = Query(
        get("service", ""), get("caller", ""), get("replica", ""), tuple(pairs), failed, min_ms / 1000
    )
    return query, max(1, min(limit, MAX_LIMIT))


def _pair(raw: str) -> tuple[str, str]:
    key, separator, value = raw.partition("=")
    if not separator:
        raise QueryError(f"attr: {raw!r} is not KEY=VALUE")
    return key.strip(), value.strip()


def summary(trace: Trace) -> dict[str, Any]:
    """Return a trace as JSON data, without its spans."""
    root = trace.root
    return {
        "trace_id": trace.trace_id,
        "root": root.name,
        "service": root.service,
        "start": trace.start,
        "duration_ms": round((trace.end - trace.start) * 1000, 3),
        "error": trace.error,
        "services": trace.services,
        "span_count": len(trace.spans),
    }


def span_json(span: Span) -> dict[str, Any]:
    """Return a span as the API's JSON data. Times are in Unix seconds."""
    return {
        "span_id": span.span_id,
        "parent_id": span.parent_id,
        "name": span.name,
        "kind": span.kind,
        "service": span.service,
        "replica": span.replica,
        "start": span.start,
        "end": span.end,
        "duration_ms": round(span.duration * 1000, 3),
        "error": span.error,
        "attributes": dict(span.attributes),
        "events": [{"name": e.name, "time": e.time, "attributes": dict(e.attributes)} for e in span.events],
    }
