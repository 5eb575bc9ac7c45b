"""The results of a run of load: counts by status code, latencies, and each replica's share. Pure."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One call of the run. Times are monotonic seconds."""

    target: str
    method: str
    #: The scheduled start. Latency counts from here, so that a queue is not hidden
    #: ("coordinated omission", https://www.infoq.com/presentations/latency-response-time/).
    intended: float
    ended: float
    #: `OK`, or the status code's name.
    code: str
    #: The address that answered the last attempt.
    endpoint: str | None
    attempts: int

    @property
    def latency(self) -> float:
        return self.ended - self.intended


def percentile(sorted_values: list[float], q: float) -> float:
    """Return the nearest-rank percentile; 0.0 if there are no values.

    Args:
        sorted_values: Values in rising order.
        q: The quantile, from 0 to 1.
    """
    if not sorted_values:
        return 0.0
    return sorted_values[max(0, math.ceil(q * len(sorted_values)) - 1)]


@dataclass(slots=True)
class Report:
    """The samples of one run, and its duration."""

    samples: list[Sample] = field(default_factory=list)
    #: Arrivals dropped because the limit of calls in flight was reached: errors of the run, not of the
    #: system.
    dropped: int = 0
    started: float = 0.0
    ended: float = 0.0

    def add(self, sample: Sample) -> None:
        """Add a call that has ended."""
        self.samples.append(sample)

    @property
    def errors(self) -> int:
        return self.dropped + sum(s.code != "OK" for s in self.samples)

    @property
    def rate(self) -> float:
        """Return the calls per second."""
        elapsed = self.ended - self.started
        return len(self.samples) / elapsed if elapsed > 0 else 0.0

    def codes(self) -> Counter[str]:
        return Counter(s.code for s in self.samples)

    def latency(self, q: float) -> float:
        """Return a percentile of all latencies, in seconds."""
        return percentile(sorted(s.latency for s in self.samples), q)

    def counts(self, target: str) -> Counter[str]:
        """Return the number of answered calls per endpoint of one service."""
        return Counter(s.endpoint for s in self.samples if s.target == target and s.endpoint)

    def counts_by_method(self, target: str) -> dict[str, Counter[str]]:
        """Return the number of answered calls per method and endpoint of one service: `counts` for each
        method.

        An endpoint that answered only other methods is present with 0: a replica that never gets CreateOrder
        shows nowhere else.
        """
        endpoints = self.counts(target)
        methods: dict[str, Counter[str]] = {}
        for s in self.samples:
            if s.target == target and s.endpoint:
                methods.setdefault(s.method, Counter(dict.fromkeys(endpoints, 0)))[s.endpoint] += 1
        return dict(sorted(methods.items()))

    def targets(self) -> list[str]:
        return sorted({s.target for s in self.samples})

    def since(self, moment: float) -> "Report":
        """Return a report of the calls that were scheduled at `moment` or later."""
        return Report([s for s in self.samples if s.intended >= moment], 0, moment, self.ended)

    def summary(self, names: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the report as plain data, for `--json`.

        Args:
            names: Replica names by address (`127.0.1.1:50051` -> `product/1`).
        """
        return {
            "calls": len(self.samples),
            "rate": round(self.rate, 2),
            "errors": self.errors,
            "dropped": self.dropped,
            "codes": dict(sorted(self.codes().items())),
            "retried": sum(s.attempts > 1 for s in self.samples),
            "latency_ms": _latencies(self.samples),
            "methods": self.methods(),
            "shares": {target: self._shares(target, names or {}) for target in self.targets()},
        }

    def methods(self) -> dict[str, dict[str, Any]]:
        """Return calls, errors and latencies of each method, such as `order/CreateOrder`."""
        by_method: dict[str, list[Sample]] = {}
        for sample in self.samples:
            by_method.setdefault(f"{sample.target}/{sample.method}", []).append(sample)
        return {
            name: {
                "calls": len(samples),
                "errors": sum(s.code != "OK" for s in samples),
                "latency_ms": _latencies(samples),
            }
            for name, samples in sorted(by_method.items())
        }

    def _shares(self, target: str, names: Mapping[str, str]) -> dict[str, Any]:
        counts = self.counts(target)
        methods = self.counts_by_method(target)
        return {
            **_share(counts, names),
            "methods": {
                method: {**_share(of_method, names), "uneven": uneven(of_method)}
                for method, of_method in methods.items()
            },
        }


def _share(counts: Mapping[str, int], names: Mapping[str, str]) -> dict[str, Any]:
    """Return calls and share of each replica.

    `max_over_min` is null if one has none: JSON has no infinity.
    """
    total, most = sum(counts.values()), spread(counts)
    return {
        "replicas": {
            names.get(address, address): {"address": address, "calls": n, "share": round(n / total, 4)}
            for address, n in sorted(counts.items())
        },
        "max_over_min": round(most, 4) if math.isfinite(most) else None,
    }


def _latencies(samples: list[Sample]) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    rising = sorted(s.latency for s in samples)
    return {f"p{round(q * 100)}": round(percentile(rising, q) * 1000, 3) for q in (0.5, 0.95, 0.99)}


def spread(counts: Mapping[str, int]) -> float:
    """Return the largest share over the smallest: 1.0 is perfect balance. Infinite if there are no calls."""
    low = min(counts.values(), default=0)
    return max(counts.values()) / low if low else math.inf


#: Standard deviations beyond which a share is not explained by chance: once in sixteen thousand shares.
_CHANCE = 4.0


def uneven(counts: Mapping[str, int]) -> bool:
    """Return whether some endpoint's share deviates from an equal one by more than chance explains.

    Few calls are never even, so the largest share over the smallest says little. A policy that weighs its
    endpoints is uneven on purpose.
    """
    total, fair = sum(counts.values()), 1 / max(1, len(counts))
    deviation = math.sqrt(total * fair * (1 - fair))
    return any(abs(n - total * fair) > _CHANCE * deviation for n in counts.values())
