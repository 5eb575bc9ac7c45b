"""Reads the figures of the last hours from a Prometheus."""

import json
import math
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlencode

from local.errors import NoAnswerError
from meshmart.console import queries
from meshmart.console.choice import Choice
from meshmart.console.documents import fetch
from meshmart.console.reads import problem

#: The ranges that are offered, in hours, and the number of points of each.
RANGES, POINTS = (1, 6, 24), 180
#: The shortest window of a rate, in seconds: four scrapes of the chart's Prometheus.
SHORTEST = 60
#: The largest answer in bytes, and the seconds that each of the three queries may take.
MAX_ANSWER, TIMEOUT = 128 * 1024, 3.0
Points = list[list[float | None]]


async def read(
    server: str, namespace: str, choice: Choice, hours: int, now: float, called: Collection[str]
) -> bytes:
    """Return the points of a range as JSON, in the form of `/api/history`.

    Args:
        server: The URL of the Prometheus.
        namespace: The namespace of the mesh.
        choice: The choice.
        hours: One of `RANGES`.
        now: Unix seconds.
        called: The gRPC services that the target provides, if the choice is an edge.
    """
    step = hours * 3600 // POINTS
    until = int(now) // step * step
    span = {"start": until - step * (POINTS - 1), "end": until, "step": step}
    columns = []
    try:
        for query in queries.of(choice, namespace, f"{max(SHORTEST, step)}s", called):
            path = f"/api/v1/query_range?{urlencode({'query': query, **span})}"
            columns.append(values(await fetch(server, path, MAX_ANSWER, TIMEOUT), span["start"], step))
    except NoAnswerError as e:
        return problem(str(e))
    told = {"until": until, "step": step, "count": POINTS, "points": points(*columns)}
    return json.dumps(told, allow_nan=False).encode()


def values(told: Any, start: int, step: int) -> Mapping[int, float]:
    """Return the values of an answer with one series, by the number of the point."""
    found = {}
    try:
        series = told["data"]["result"]
        for at, value in series[0]["values"] if series else ():
            number, point = float(value), round((float(at) - start) / step)
            if math.isfinite(number) and 0 <= point < POINTS:
                found[point] = number
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        pass
    return found


def points(rate: Mapping[int, float], failing: Mapping[int, float], p99: Mapping[int, float]) -> Points:
    """Return the rate, the failing rate and the p99 of each point. Without a failing series, none fails."""
    return [[rate.get(i), failing.get(i, 0.0) if i in rate else None, p99.get(i)] for i in range(POINTS)]
