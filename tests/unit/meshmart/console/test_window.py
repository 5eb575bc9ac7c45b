"""Rates and quantiles of one process."""

import math

import pytest

from meshmart.console.window import SPAN, Reading, Window, quantile

SERVED = ("served", "OK")


def window(*readings: tuple[float, float, float]) -> Window:
    """Readings of (time, calls, start of the process)."""
    made = Window()
    for at, calls, started in readings:
        made.add(Reading(at, {SERVED: calls, ("started",): started, ("limit",): 64.0}))
    return made


def test_a_rate_is_the_growth_over_the_span_and_gauges_have_none() -> None:
    assert window((0, 100, 1), (5, 150, 1)).rates() == {SERVED: 10.0}


def test_one_reading_has_no_rate() -> None:
    assert window((0, 100, 1)).rates() == {}


def test_readings_older_than_the_span_are_dropped_but_the_last_two_stay() -> None:
    assert window(*((t, 100.0 * t, 1) for t in range(100))).rates() == {SERVED: 100.0}
    slow = window((0, 0, 1), (10 * SPAN, 1000, 1), (20 * SPAN, 4000, 1))
    assert slow.rates() == {SERVED: pytest.approx(3000 / (10 * SPAN))}


def test_a_process_that_began_again_is_not_compared_with_the_one_before() -> None:
    restarted = window((0, 1000, 1), (1, 3, 2))
    assert restarted.rates() == {}
    restarted.add(Reading(2, {SERVED: 5, ("started",): 2}))
    assert restarted.rates() == {SERVED: 2.0}


def test_a_counter_that_falls_has_a_rate_of_zero_not_less() -> None:
    assert window((0, 100, 1), (1, 50, 1)).rates() == {SERVED: 0.0}


def test_a_counter_that_is_new_began_at_zero() -> None:
    made = window((0, 100, 1))
    made.add(Reading(2, {SERVED: 100, ("started",): 1, ("shed",): 4}))
    assert made.rates()[("shed",)] == 2.0


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({0.1: 50, 0.2: 100, math.inf: 100}, 0.5, 0.1),
        ({0.1: 50, 0.2: 100, math.inf: 100}, 0.75, 0.15),
        ({0.1: 100, math.inf: 100}, 0.5, 0.05),
        ({0.1: 0, math.inf: 10}, 0.99, 0.1),  # beyond the last bound: at least that
        ({0.1: 5}, 0.99, None),
        ({math.inf: 0}, 0.99, None),
        ({}, 0.99, None),
        ({0.1: 90, 0.2: 10, math.inf: 100}, 0.5, 0.1 * 50 / 90),  # not cumulative: no harm
    ],
)
def test_a_quantile_is_prometheus(buckets: dict[float, float], q: float, expected: float | None) -> None:
    found = quantile(q, buckets)
    assert found == (expected if expected is None else pytest.approx(expected))
