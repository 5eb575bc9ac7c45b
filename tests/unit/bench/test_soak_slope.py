"""The slope of a figure, and when it breaks a bound."""

import random

import pytest

from bench.soak.slope import FEWEST, Point, medians, slope

HOUR = 3600.0


def _series(per_hour: float, noise: float, seed: int = 1, start: float = 80.0) -> list[Point]:
    """Return an hour of samples, five seconds apart."""
    rng = random.Random(seed)
    return [(at, start + per_hour * at / HOUR + rng.gauss(0, noise)) for at in range(0, 3600, 5)]


@pytest.mark.parametrize("per_hour", [-10.0, 0.0, 3.0, 40.0])
def test_the_slope_of_a_line_is_found(per_hour: float) -> None:
    found = slope(_series(per_hour, 0))
    assert found is not None
    assert found.per_hour == pytest.approx(per_hour, abs=1e-9)
    assert found.low <= found.per_hour <= found.high


def test_the_interval_holds_the_slope_about_as_often_as_it_says() -> None:
    found = [slope(_series(6.0, 3.0, seed)) for seed in range(200)]
    held = sum(1 for s in found if s is not None and s.low <= 6.0 <= s.high)
    assert 180 <= held <= 200  # 190 are expected


def test_a_spike_that_passes_is_no_rise() -> None:
    flat = [(at, value + (500 if 1800 <= at < 2200 else 0)) for at, value in _series(0, 1.0)]
    found = slope(flat)
    assert found is not None
    assert not found.breaks(1.0)
    assert abs(found.per_hour) < 2


def test_a_leak_breaks_its_bound_and_a_small_one_does_not() -> None:
    leak, small = slope(_series(20.0, 2.0)), slope(_series(1.0, 0.1))
    assert leak is not None
    assert leak.breaks(8.0)
    assert small is not None
    assert small.low > 0
    assert not small.breaks(8.0)


def test_a_slope_that_may_be_chance_breaks_nothing() -> None:
    found = slope([(float(at), value) for at, value in enumerate((3, 1, 4, 1, 5, 9, 2, 6, 5, 3))])
    assert found is not None
    assert found.per_hour > 8.0
    assert found.low <= 0
    assert not found.breaks(8.0)


def test_one_descriptor_a_minute_is_seen_among_whole_numbers() -> None:
    steps = [(float(at), float(40 + at // 60 + at % 3)) for at in range(0, 3600, 5)]
    found = slope(steps)
    assert found is not None
    assert found.per_hour == pytest.approx(60, rel=0.05)
    assert found.breaks(2.0)


def test_too_few_points_have_no_slope() -> None:
    assert slope([(float(at), 1.0) for at in range(FEWEST - 1)]) is None
    assert slope([]) is None


def test_medians_keep_all_points_of_a_short_series_and_are_bounded_for_a_long_one() -> None:
    short = [(1.0, 5.0), (2.0, 6.0)]
    assert medians(short, 40) == short
    assert len(medians(_series(0, 1), 40)) == 40
