"""A real Prometheus asked as Grafana asks it, and expressions made ready for that."""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.observability.rules import ROOT

DASHBOARDS = sorted((ROOT / "helm" / "meshmart" / "dashboards").glob("*.json"))

T = TypeVar("T")
#: Seconds for which something is looked for that is not there yet, in all.
PATIENCE = 240.0

#: What Grafana puts in: four scrapes of the chart's Prometheus, and a service that both serves and calls.
VARIABLES = {"$__rate_interval": "20s", "$namespace": "meshmart", "$service": "order"}

#: A filter: the comparison and its threshold, a number or a share of an objective.
_COMPARISON = re.compile(r" (?:==|<|>) -?[\d.]+(?: \* \(1 - scalar\([\w:]+\)\))?")
_SET_OPERATOR = re.compile(r"\s+(?:and|unless|or)\s+(?:on \([^)]*\)\s+)?")


@dataclass(frozen=True)
class Expression:
    """One query of a panel; `id` for the test's name."""

    id: str
    text: str
    legend: str
    exemplars: bool


def expressions() -> list[Expression]:
    """Every query of every panel of every dashboard, as Grafana sends it."""
    found = []
    for file in DASHBOARDS:
        for panel in panels(json.loads(file.read_text())):
            for target in of_prometheus(panel):
                name = f"{file.stem}: {panel['title']} {target['refId']}"
                exemplars = target.get("exemplar", False)
                found.append(
                    Expression(name, filled(target["expr"]), target.get("legendFormat", ""), exemplars)
                )
    return found


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel of a dashboard: rows, and those within collapsed rows, too."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def of_prometheus(panel: dict[str, Any]) -> list[dict[str, Any]]:
    """The panel's queries of Prometheus: none if it asks another data source."""
    if panel.get("datasource", {}).get("type") != "prometheus":
        return []
    found: list[dict[str, Any]] = panel.get("targets", [])
    return found


def filled(text: str) -> str:
    """Template variables replaced."""
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert not re.search(r"\$(?!\d)", text), text  # $1 is of PromQL's label_replace
    return text


def without_thresholds(expr: str) -> list[str]:
    """What an alert looks at: its operands, each without the comparison that says whether it fires.

    `a > 5 unless b == 1` looks at a and at b. Both must be there, or it could never fire, or always would.
    """
    return [_COMPARISON.sub("", operand) for operand in _operands(" ".join(expr.split()))]


def _operands(expr: str) -> list[str]:
    """Split at the set operators outside of parentheses and braces."""
    parts, start = [], 0
    for operator in _SET_OPERATOR.finditer(expr):
        before = expr[: operator.start()]
        if all(before.count(a) == before.count(b) for a, b in ("()", "{}", "[]")):
            parts.append(expr[start : operator.start()])
            start = operator.end()
    return [*parts, expr[start:]]


class Prometheus:
    """Its HTTP API.

    A busy machine scrapes, evaluates and exports late. So what is looked for is looked for again, until it is
    there or `PATIENCE` has passed since this object was made.

    Args:
        url: From `meshmart status --json`.
        since: Unix seconds: the left edge of the graphs, before there was anything to see.
    """

    def __init__(self, url: str, since: float) -> None:
        self._url, self._since = url, since
        self._give_up = time.monotonic() + PATIENCE

    def until(self, look: Callable[[], T]) -> T:
        """Look until there is something, and return that, or what the last look returned."""
        while not (seen := look()) and time.monotonic() < self._give_up:
            time.sleep(1)
        return seen

    def get(self, path: str, **parameters: Any) -> Any:
        """`data` of an answer; fails on an error, such as a query that does not parse."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=60) as reply:
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        return answer["data"]

    def graph(self, expr: str) -> list[dict[str, Any]]:
        """Series with at least one number (a share of nothing is none), from the beginning until now."""
        return self.until(lambda: self._graph(expr))

    def _graph(self, expr: str) -> list[dict[str, Any]]:
        span = {"start": self._since, "end": time.time(), "step": 5}
        series = self.get("query_range", query=expr, **span)["result"]
        return [s for s in series if any(value != "NaN" for _, value in s["values"])]

    def peak(self, expr: str) -> float:
        """The largest number that it ever was; 0 without any."""

        def look() -> float:
            values = (float(v) for s in self._graph(expr) for _, v in s["values"] if v != "NaN")
            return max(values, default=0.0)

        return self.until(look)

    def exemplars(self, expr: str) -> set[str]:
        """Trace ids of the points that Grafana draws upon the graph of this expression."""

        def look() -> set[str]:
            found = self.get("query_exemplars", query=expr, start=self._since, end=time.time())
            return {e["labels"]["trace_id"] for series in found for e in series["exemplars"]}

        return self.until(look)


def fetch(url: str, accept: str = "*/*", traceparent: str = "") -> tuple[int, str]:
    """Status and body."""
    headers = {"Accept": accept} | ({"traceparent": traceparent} if traceparent else {})
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, ""
