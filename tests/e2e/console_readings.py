"""The figures of the console, computed anew from the metrics pages of the shop's own processes.

Nothing here is the console's code: pages are parsed by Prometheus' own parser.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

#: The codes of docs/console.md, and what stands for a page that succeeded.
FAILED = {"Unknown", "DeadlineExceeded", "ResourceExhausted", "Internal", "Unavailable", "DataLoss"}
SPAN = 10.0
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
Wanted = Callable[[Mapping[str, str]], bool]


def started(text: str) -> str | None:
    """When the process of a page started."""
    found = re.search(r"^process_start_time_seconds (\S+)", text, re.MULTILINE)
    return found[1] if found else None


@lru_cache(maxsize=256)
def parsed(text: str) -> Series:
    samples: Iterable[Sample] = (s for f in text_string_to_metric_families(text) for s in f.samples)
    return {(s.name, frozenset(s.labels.items())): s.value for s in samples}


def code_of(labels: Mapping[str, str]) -> str:
    """The code of a call, or of a page of the storefront."""
    status = labels.get("http_response_status_code")
    if status is None:
        return labels["grpc_code"]
    return "OK" if status[0] in "123" else status


def has_failed(code: str) -> bool:
    return code in FAILED or code[0] in "05"


def own(labels: Mapping[str, str]) -> bool:
    return not labels.get("grpc_service", "").startswith("grpc.")


def unary(labels: Mapping[str, str]) -> bool:
    return own(labels) and labels.get("grpc_type", "unary") == "unary"


SERVED = ("grpc_server_handled_total", "http_server_request_duration_seconds_count")
SERVE_BUCKETS = (
    "grpc_server_handling_seconds_bucket",
    "http_server_request_duration_seconds_bucket",
)
CALLED, CALL_BUCKETS = ("grpc_client_handled_total",), ("grpc_client_handling_seconds_bucket",)
STARTED = "grpc_server_started_total"


def counts(series: Series, names: Iterable[str], by: Callable[[Mapping[str, str]], str]) -> dict[str, float]:
    """Add up the application's own series of some names."""
    found: dict[str, float] = defaultdict(float)
    for (name, labels), value in series.items():
        about = dict(labels)
        if name in names and own(about):
            found[by(about)] += value
    return {key: value for key, value in found.items() if value}


@dataclass
class Readings:
    """Every page that was read of each replica, and when."""

    pages: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, text: str, at: float) -> None:
        self.pages[name].append((at, text))

    def last(self, name: str) -> Series:
        return parsed(self.pages[name][-1][1]) if self.pages[name] else {}

    def rates(self, name: str) -> Series:
        """By how much each series grew per second, over the last ten seconds."""
        pages = self.pages[name]
        same = [(at, page) for at, page in pages if started(page) == started(pages[-1][1])]
        while len(same) > 2 and same[1][0] <= same[-1][0] - SPAN:
            same.pop(0)
        if len(same) < 2:
            return {}
        (begun, first), (ended, last) = same[0], same[-1]
        before = parsed(first)
        return {key: (v - before.get(key, 0.0)) / (ended - begun) for key, v in parsed(last).items()}

    def total(self, replicas: Iterable[str], names: Iterable[str], wanted: Wanted) -> dict[str, list[float]]:
        """By code: the rate, and the number of calls."""
        found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for replica in replicas:
            for column, series in enumerate((self.rates(replica), self.last(replica))):
                for (name, labels), value in series.items():
                    about = dict(labels)
                    if name in names and own(about) and wanted(about):
                        found[code_of(about)][column] += value
        return {code: values for code, values in found.items() if values[1]}

    def p99(self, replicas: Iterable[str], names: Iterable[str], wanted: Wanted) -> list[float | None]:
        """What Prometheus' `histogram_quantile(0.99, …)` says, in seconds.

        Where exactly 99 of 100 calls are in a bucket, the order of the sums decides between two values.
        """
        buckets: dict[float, float] = defaultdict(float)
        for replica in replicas:
            for (name, labels), value in self.rates(replica).items():
                about = dict(labels)
                if name in names and unary(about) and wanted(about):
                    buckets[float(about["le"])] += value
        return [quantile(q, sorted(buckets.items())) for q in (0.99 - 1e-9, 0.99, 0.99 + 1e-9)]

    def gauge(self, replicas: Iterable[str], name: str, target: str, rate: bool = True) -> float:
        """The sum of a target's series."""
        return sum(
            value
            for replica in replicas
            for (each, labels), value in (self.rates(replica) if rate else self.last(replica)).items()
            if each == name and dict(labels)["target"].split(".")[0] == target
        )


def quantile(q: float, buckets: list[tuple[float, float]]) -> float | None:
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = q * buckets[-1][1]
    at = next(i for i, (_, count) in enumerate(buckets) if count >= rank)
    lower, below = buckets[at - 1] if at else (0.0, 0.0)
    upper, count = buckets[at]
    return lower if math.isinf(upper) else lower + (upper - lower) * (rank - below) / (count - below)


def providers(pages: Mapping[str, Series]) -> dict[str, str]:
    """The service that provides each gRPC service. `pages` are those of replicas, such as `product-1`."""
    return {
        dict(labels)["grpc_service"]: replica.rpartition("-")[0]
        for replica, page in pages.items()
        for (name, labels) in page
        if name == STARTED and own(dict(labels))
    }


def frame_codes(of: Mapping[str, Any]) -> dict[str, float]:
    """The calls of a service, replica or edge of a frame by their code."""
    others = {name: calls for name, _, calls in of.get("codes", ())}
    ok = of.get("calls", 0) - sum(others.values())
    return others | ({"OK": ok} if ok else {})
