"""Whether a figure rises: a robust slope with a confidence interval. Pure.

The estimator is Theil and Sen's: the median of the slopes of all pairs of points. A spike that passes does
not move it, where least squares would follow it. The interval is Sen's, from the distribution of Kendall's S
(P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", JASA 63, 1968).
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

#: Two-sided 95 %.
_Z = 1.96
#: The most points of an estimate. Samples that follow each other closely are not independent, which the
#: interval assumes; the medians of long stretches are less dependent, and less noisy.
BLOCKS = 40
#: The fewest points that say anything.
FEWEST = 10

Point = tuple[float, float]
"""Seconds, and the value then."""


@dataclass(frozen=True)
class Slope:
    """A rise per hour, and the limits between which it is with a probability of 95 %."""

    per_hour: float
    low: float
    high: float

    def breaks(self, bound: float) -> bool:
        """Return whether the figure rises, and faster than the bound allows."""
        return self.per_hour > bound and self.low > 0

    def __str__(self) -> str:
        return f"{self.per_hour:+.2f} an hour ({self.low:+.2f} to {self.high:+.2f})"


def slope(points: Sequence[Point]) -> Slope | None:
    """Return the slope of a figure over time; None if there are too few points.

    Args:
        points: In the order of time.
    """
    blocks = medians(points, BLOCKS)
    if len(blocks) < FEWEST:
        return None
    rises = sorted((b[1] - a[1]) / (b[0] - a[0]) * 3600 for a, b in itertools.combinations(blocks, 2))
    n = len(blocks)
    spread = _Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((len(rises) - spread) / 2))
    high = min(len(rises) - 1, math.ceil((len(rises) + spread) / 2))
    return Slope(statistics.median(rises), rises[low], rises[high])


def medians(points: Sequence[Point], most: int) -> list[Point]:
    """Return at most `most` points: the medians of stretches with equally many points."""
    size = max(1, math.ceil(len(points) / most))
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (statistics.median(at for at, _ in stretch), statistics.median(value for _, value in stretch))
        for stretch in stretches
    ]
