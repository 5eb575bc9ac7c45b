"""Medians of paired figures, with their confidence intervals."""

import math
import statistics
from typing import Any


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median, whatever the distribution.

    It lies between two order statistics, from the binomial distribution (Conover, Practical
    Nonparametric Statistics, section 3.2). Fewer than six values give no more than their range.
    """
    ordered, n, below, k = sorted(values), len(values), 0.0, 0
    while k < n // 2 and below + math.comb(n, k) / 2**n <= 0.025:
        below += math.comb(n, k) / 2**n
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]


def paired(of: list[float], to: list[float]) -> dict[str, Any]:
    """Return the median of the ratios within the rounds, and its 95 % confidence interval."""
    ratios = [a / b for a, b in zip(of, to, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "interval": [round(bound, 3) for bound in interval(ratios)],
    }
