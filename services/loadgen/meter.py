"""The report of a load that never ends: it counts for Prometheus, and keeps no samples."""

import bisect
from collections import Counter
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from services.loadgen.report import Report, Sample

#: Upper bounds of the histogram's buckets, in seconds; the last is followed by +Inf.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Meter(Report):
    """A report that only counts samples. The label sets are those of the methods that journeys call."""

    def __init__(self) -> None:
        super().__init__()
        self._codes: Counter[tuple[str, str, str]] = Counter()
        self._counts: dict[tuple[str, str], list[int]] = {}
        self._sums: Counter[tuple[str, str]] = Counter()

    def add(self, sample: Sample) -> None:
        """Count a call that has ended."""
        method = sample.target, sample.method
        self._codes[*method, sample.code] += 1
        counts = self._counts.setdefault(method, [0] * (len(BUCKETS) + 1))
        counts[bisect.bisect_left(BUCKETS, sample.latency)] += 1
        self._sums[method] += sample.latency  # type: ignore[assignment]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics for Prometheus."""
        calls = CounterMetricFamily(
            "loadgen_calls", "Calls of the load.", labels=["target", "method", "code"]
        )
        for labels, count in self._codes.items():
            calls.add_metric(list(labels), count)
        latency = HistogramMetricFamily(
            "loadgen_latency_seconds",
            "From when the schedule wanted a call to its end.",
            labels=["target", "method"],
        )
        for method, counts in self._counts.items():
            latency.add_metric(list(method), _cumulative(counts), self._sums[method])
        dropped = CounterMetricFamily("loadgen_dropped", "Arrivals above the limit of journeys in flight.")
        dropped.add_metric([], self.dropped)
        yield from (calls, latency, dropped)


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    total, rows = 0, list[tuple[str, float]]()
    for bound, count in zip((*BUCKETS, float("inf")), counts, strict=True):
        total += count
        rows.append(("+Inf" if bound == float("inf") else str(bound), total))
    return rows
