"""Reads the last log lines of a choice. What a process logs is not trusted, so each text is bounded."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from local.errors import ClusterError
from meshmart.console.choice import Choice
from meshmart.console.observer import Watched
from meshmart.console.reads import problem

#: The most replicas whose logs are read at a time, the most lines of each, and the most that are shown.
MAX_REPLICAS, READ, SHOWN = 6, 200, 60
#: The most characters of a message, and of all its fields.
MAX_TEXT = 600
#: Seconds after which a log is given up, so that the lines of the other replicas are shown.
PATIENCE = 5.0
#: The fields that are shown in a place of their own.
_OWN = frozenset({"ts", "level", "service", "replica", "msg", "trace_id", "span_id"})
_TRACE = re.compile(r"[0-9a-f]{32}")


class Cluster(Protocol):
    """Port: the part of `meshmart.cluster.Cluster` that reads logs."""

    async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log."""

    replica: str
    at: str
    """When the line was written, according to the process; empty if the process does not say so."""
    level: str
    text: str
    fields: str = ""
    trace: str = ""
    """The id of the trace to which it belongs."""


async def read(cluster: Cluster, choice: Choice, callees: Sequence[Watched]) -> bytes:
    """Return the last log lines of a choice, as JSON for the page.

    For an edge these are the calls in the access logs of the callee's replicas, and the lines of the caller's
    replicas about the callee. A log that cannot be read does not hide the others: `unread` says why.

    Args:
        cluster: Where the logs are.
        choice: The choice.
        callees: The replicas that are called, if it is an edge.
    """
    # If there are many replicas, those that are not ready are read: a reader looks for the cause there.
    worst = [*reversed(choice.replicas)][:MAX_REPLICAS]
    read_of = [*worst, *callees[:MAX_REPLICAS]]
    groups = await asyncio.gather(*(_of(cluster, w) for w in read_of))
    problems = [group for group in groups if isinstance(group, str)]
    lines = [
        line
        for watched, group in zip(read_of, groups, strict=True)
        for line in (() if isinstance(group, str) else group)
        if not choice.target or concerns(line, choice, watched.service)
    ]
    if problems and not lines:
        return problem(problems[0])
    last = sorted(lines, key=lambda line: line.at)[-SHOWN:]
    told = {
        "rows": [asdict(line) for line in last],
        "read": len(groups),
        "of": len(choice.replicas),
        "unread": problems,
    }
    return json.dumps(told).encode()


async def _of(cluster: Cluster, watched: Watched) -> list[Line] | str:
    """Return the last lines of a replica, or why they cannot be read."""
    try:
        async with asyncio.timeout(PATIENCE):
            return list(parsed(watched.name, await cluster.logs(watched.service, watched.id, READ)))
    except TimeoutError:
        return f"the log of {watched.name} was not there within {PATIENCE:g} s"
    except ClusterError as e:
        return str(e)[:MAX_TEXT]


def parsed(replica: str, lines: Iterable[str]) -> Iterator[Line]:
    """Yield the lines of a replica's log. A line that is not JSON gets the time of the line before it."""
    at = ""
    for text in lines:
        line = _parsed(replica, text, at)
        at = line.at
        yield line


def _parsed(replica: str, text: str, before: str) -> Line:
    try:
        told = json.loads(text) if text.startswith("{") else None
        fields = _fields(told) if isinstance(told, dict) else ""
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("ts"), str):
        return Line(replica, before, "", text[:MAX_TEXT])
    trace = str(told.get("trace_id", ""))
    return Line(
        replica,
        told["ts"][:32],
        str(told.get("level", ""))[:16],
        str(told.get("msg", ""))[:MAX_TEXT],
        fields[:MAX_TEXT],
        trace if _TRACE.fullmatch(trace) else "",
    )


def _fields(told: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in told.items() if name not in _OWN)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def concerns(line: Line, edge: Choice, service: str) -> bool:
    """Return whether a line of a service is about the calls of an edge.

    The callee names the caller in its access log. The caller names the target in the fields or in the text.
    """
    words = re.split(r"[^\w=-]+", f"{line.text} {line.fields}")
    if service == edge.target:
        return f"caller={edge.service}" in words
    return edge.target in words or f"target={edge.target}" in words
