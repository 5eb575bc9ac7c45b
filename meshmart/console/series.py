"""Parses a replica's metrics page into the values that the console shows. Pure.

A page comes from outside the process: one that is huge, or garbage, costs its own replica's figures only.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from meshmart.console import codes

#: The most lines of a page that are read; the rest is left out.
MAX_LINES = 20_000
#: The longest line that is read, in characters.
MAX_LINE = 2_000
#: The most different values that one page may yield.
MAX_VALUES = 10_000
#: The largest value, positive or negative: sums of them stay finite. NaN is no value either.
MAX_VALUE = 1e15
#: The most lines whose meaning is remembered, over all replicas.
REMEMBERED = 50_000

Key = tuple[str, ...]
"""The name of a value: what it is, then what it is about, such as `("picks", "product", "10.0.0.1:50051")`.
"""
Labels = Mapping[str, str]
_Meaning = Callable[[Labels], Key | None]

_LABEL = re.compile(r' *([a-zA-Z_][a-zA-Z0-9_]*+)="((?:[^"\\]|\\.)*)" *(?:,|$)')
_ESCAPE = re.compile(r"\\(.)")


class Page(NamedTuple):
    """What a metrics page says."""

    values: Mapping[Key, float]
    complete: bool
    """Whether every line was read: the page was within the bounds, and no line was garbage."""


def _own(labels: Labels) -> bool:
    """Return whether a gRPC service is the application's, and not gRPC's own, such as health."""
    return not labels.get("grpc_service", "").startswith("grpc.")


def _served(labels: Labels) -> Key | None:
    return ("served", codes.of_call(labels["grpc_code"])) if _own(labels) else None


def _requested(labels: Labels) -> Key:
    return "served", codes.of_page(labels["http_response_status_code"])


def _provides(labels: Labels) -> Key | None:
    return ("provides", labels["grpc_service"]) if _own(labels) else None


def _called(labels: Labels) -> Key | None:
    called = ("called", labels["grpc_service"], codes.of_call(labels["grpc_code"]))
    return called if _own(labels) else None


def _latency(kind: str) -> _Meaning:
    def meaning(labels: Labels) -> Key | None:
        # A stream lasts as long as its reader wants: its duration is no latency.
        unary = labels.get("grpc_type", "unary") == "unary"
        about = (labels["grpc_service"],) if kind == "call_le" else ()
        used = unary and _own(labels) and _is_bound(labels["le"])
        return (kind, *about, labels["le"]) if used else None

    return meaning


def _is_bound(text: str) -> bool:
    """Return whether a text is the upper bound of a latency: `MAX_VALUE` seconds at most, or infinite."""
    try:
        return 0 <= float(text) <= MAX_VALUE or float(text) == math.inf
    except ValueError:
        return False


def _by(kind: str, *names: str) -> _Meaning:
    def meaning(labels: Labels) -> Key:
        return (kind, *(labels[name] for name in names))

    return meaning


_MEANINGS: Mapping[str, _Meaning] = {
    "grpc_server_handled_total": _served,
    "grpc_server_started_total": _provides,
    "grpc_server_handling_seconds_bucket": _latency("serve_le"),
    "http_server_request_duration_seconds_count": _requested,
    "http_server_request_duration_seconds_bucket": _latency("serve_le"),
    "grpc_client_handled_total": _called,
    "grpc_client_handling_seconds_bucket": _latency("call_le"),
    "mesh_picks_total": _by("picks", "target", "endpoint"),
    "mesh_endpoint_in_flight": _by("knows", "target", "endpoint"),
    "mesh_outlier_endpoint_ejected": _by("ejected", "target", "endpoint"),
    "mesh_retries_total": _by("retries", "target"),
    "mesh_hedges_total": _by("hedges", "target"),
    "mesh_retry_budget_exhausted_total": _by("budget_exhausted", "target"),
    "mesh_retry_budget_spent": _by("budget_spent", "target"),
    "mesh_retry_budget_allowed": _by("budget_allowed", "target"),
    "mesh_breaker_in_flight": _by("breaker_in_flight", "target"),
    "mesh_breaker_limit": _by("breaker_limit", "target", "limit"),
    "mesh_breaker_refused_total": _by("breaker_refused", "target"),
    "mesh_calls_waiting": _by("waiting", "target"),
    "mesh_admission_refused_total": _by("shed"),
    "mesh_admission_limit": _by("limit"),
    "mesh_admission_in_flight": _by("in_flight"),
    "mesh_serving": _by("serving"),
    "mesh_draining": _by("draining"),
    "mesh_faults_active": _by("faults"),
    "mesh_certificate_info": _by("serial", "serial"),
    "mesh_certificate_not_before_timestamp_seconds": _by("not_before"),
    "mesh_certificate_expiry_timestamp_seconds": _by("not_after"),
    "shop_outbox_pending": _by("outbox_pending", "topic"),
    "shop_outbox_oldest_seconds": _by("outbox_oldest", "topic"),
    "shop_outbox_dead": _by("outbox_dead", "topic"),
    "process_start_time_seconds": _by("started"),
}
#: The names of the samples that the console reads: the selection that it asks a replica for.
NAMES = tuple(_MEANINGS)
#: What only ever grows while a process lives.
COUNTERS = frozenset(
    {"served", "serve_le", "called", "call_le", "picks", "retries", "hedges"}
    | {"budget_exhausted", "breaker_refused", "shed", "provides"}
)


class Parser:
    """Parses pages. It remembers what a line means, because the next page has the same lines."""

    def __init__(self) -> None:
        self._meanings: dict[str, Key | None] = {}

    def parse(self, text: str) -> Page:
        """Return the values of a page; the samples of one value are added up."""
        values: dict[Key, float] = {}
        lines = text.split("\n", MAX_LINES)
        complete = len(lines) <= MAX_LINES
        for line in lines[:MAX_LINES]:
            if not line or line[0] == "#":
                continue
            key, number = self._sample(line)
            if number is None or (key is not None and key not in values and len(values) >= MAX_VALUES):
                complete = False
            elif key is not None:
                values[key] = values.get(key, 0.0) + number
        return Page(values, complete)

    def _sample(self, line: str) -> tuple[Key | None, float | None]:
        """Return the value's name, None if the console does not use it, and the value, None if it is none."""
        series, _, text = line.rpartition(" ")
        if len(line) > MAX_LINE or not series:
            return None, None
        try:
            number = float(text)
        except ValueError:
            return None, None
        if series not in self._meanings:
            if len(self._meanings) >= REMEMBERED:
                self._meanings.clear()
            self._meanings[series] = _meaning(series)
        key = self._meanings[series]
        return key, number if abs(number) <= MAX_VALUE or key is None else None


def _meaning(series: str) -> Key | None:
    name, brace, rest = series.partition("{")
    understood = _MEANINGS.get(name)
    if understood is None:
        return None
    inside = rest.rstrip().removesuffix("}") if brace else ""
    try:
        return understood(dict(_labels(inside)))
    except KeyError:  # a label is missing
        return None


def _labels(inside: str) -> Iterator[tuple[str, str]]:
    """Yield the labels up to the first garbage, in linear time: a search behind it would be quadratic."""
    at = 0
    while match := _LABEL.match(inside, at):
        yield match[1], _ESCAPE.sub(_unescape, match[2])
        at = match.end()


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] == "n" else match[1]
