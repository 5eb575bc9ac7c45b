"""Reads the recent traces of a choice from the built-in trace store or from Jaeger.

The console sends the same query to both, and each ignores the parameters that it does not know. Jaeger's is
the HTTP JSON API that its pages use (https://www.jaegertracing.io/docs/latest/apis/).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from local.errors import NoAnswerError
from meshmart.console.choice import Choice
from meshmart.console.documents import fetch
from meshmart.console.reads import problem

#: The most traces that are asked for, and shown.
ASKED, SHOWN = 20, 12
#: The largest answer in bytes, and the seconds that it may take. Jaeger answers with every span.
MAX_ANSWER, TIMEOUT = 4 * 1024 * 1024, 5.0
MAX_TEXT, MAX_SERVICES = 200, 12
_ID = re.compile(r"[0-9a-fA-F]{1,32}")


@dataclass(frozen=True, slots=True)
class Summary:
    """A trace, without its spans."""

    id: str
    name: str
    """The operation that began it."""
    service: str
    """The service that began it."""
    start: float
    """Unix seconds."""
    duration: float
    """Seconds."""
    failed: bool
    services: list[str]
    """The services that took part."""


async def read(store: str, choice: Choice) -> bytes:
    """Return the recent traces of a choice, the newest first, as JSON for the page.

    Args:
        store: The URL of the trace store; empty if there is none.
        choice: The choice.
    """
    if not store:
        return problem("this cluster has no trace store")
    try:
        told = await fetch(store, f"/api/traces?{_query(choice)}", MAX_ANSWER, TIMEOUT)
    except NoAnswerError as e:
        return problem(str(e))
    found = sorted(summaries(told, choice), key=lambda s: -s.start)[:SHOWN]
    return json.dumps({"rows": [asdict(s) for s in found]}).encode()


def _query(choice: Choice) -> str:
    asked = {"service": choice.target or choice.service, "limit": str(ASKED)}
    if choice.target:
        asked["caller"] = choice.service
    if choice.replica:
        asked["replica"] = choice.replica
        asked["tags"] = json.dumps({"service.instance.id": choice.replica})
    return urlencode(asked)


def summaries(told: Any, choice: Choice) -> Iterator[Summary]:
    """Yield the traces in an answer of either store. Anything that is not a trace is left out."""
    if not isinstance(told, dict):
        return
    for trace in _list(told.get("traces")):
        if (own := _of_store(trace)) is not None:
            yield own
    for trace in _list(told.get("data")):
        if (found := _of_jaeger(trace, choice)) is not None:
            yield found


def _of_store(trace: Any) -> Summary | None:
    try:
        return _bounded(
            trace["trace_id"],
            trace["root"],
            trace["service"],
            trace["start"],
            trace["duration_ms"] / 1e3,
            bool(trace["error"]),
            trace["services"],
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _of_jaeger(trace: Any, choice: Choice) -> Summary | None:
    try:
        spans = {span["spanID"]: span for span in trace["spans"]}
        services = {name: process["serviceName"] for name, process in trace["processes"].items()}
        ordered = sorted(spans.values(), key=lambda s: s["startTime"])
        if choice.target and not _calls(spans, services, choice):
            return None
        first, ends = ordered[0], [s["startTime"] + s["duration"] for s in ordered]
        return _bounded(
            trace["traceID"],
            first["operationName"],
            services[first["processID"]],
            first["startTime"] / 1e6,
            (max(ends) - first["startTime"]) / 1e6,
            any(_failed(s) for s in ordered),
            list(dict.fromkeys(services[s["processID"]] for s in ordered)),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        return None


def _calls(spans: Mapping[str, Any], services: Mapping[str, str], choice: Choice) -> bool:
    """Return whether the caller calls the target in a trace: a span of it has a child of the target."""
    return any(
        services[span["processID"]] == choice.target
        and services[spans[reference["spanID"]]["processID"]] == choice.service
        for span in spans.values()
        for reference in span.get("references") or ()
        if reference["spanID"] in spans
    )


def _failed(span: Mapping[str, Any]) -> bool:
    return any(tag["key"] == "error" and tag["value"] not in (False, "false") for tag in span["tags"])


def _bounded(
    trace_id: Any, name: Any, service: Any, start: float, duration: float, failed: bool, services: Any
) -> Summary:
    """Return a summary of bounded size. Raises ValueError if there is no trace id."""
    if not (isinstance(trace_id, str) and _ID.fullmatch(trace_id)):
        raise ValueError("no trace id")
    if not (math.isfinite(start) and math.isfinite(duration)):
        raise ValueError("no times")
    took_part = [str(s)[:MAX_TEXT] for s in list(services)[:MAX_SERVICES]]
    return Summary(
        trace_id, str(name)[:MAX_TEXT], str(service)[:MAX_TEXT], start, duration, failed, took_part
    )


def _list(value: Any) -> list[Any]:
    return value[:ASKED] if isinstance(value, list) else []
