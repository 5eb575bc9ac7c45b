"""A scene passes only where every figure keeps its bound."""

import math

import pytest

from meshmart.tour.check import Check, Outcome
from meshmart.tour.kill import disturbance
from services.loadgen.report import Report, Sample


@pytest.mark.parametrize(
    ("relation", "measured", "passed"),
    [
        ("<=", 1.0, True),
        ("<=", 1.1, False),
        (">=", 0.9, False),
        (">=", 1.0, True),
        ("==", 1.0, True),
        ("==", 0.0, False),
    ],
)
def test_a_check_compares_the_measured_with_the_bound(relation: str, measured: float, passed: bool) -> None:
    assert Check("x", measured, 1.0, relation=relation).passed is passed  # type: ignore[arg-type]


@pytest.mark.parametrize("measured", [math.inf, math.nan])
def test_what_could_not_be_measured_fails(measured: float) -> None:
    assert not Check("x", measured, 1.0).passed


def test_a_scene_without_checks_has_not_passed() -> None:
    assert not Outcome("balance").passed
    assert not Outcome("balance", (Check("x", 0, 1),), problem="no replica").passed
    assert not Outcome("balance", (Check("x", 0, 1), Check("y", 2, 1))).passed
    assert Outcome("balance", (Check("x", 0, 1),)).passed


def test_a_check_reads_as_a_sentence() -> None:
    assert str(Check("failed calls", 0, 0, "", "==")) == "failed calls: 0 (== 0)"
    assert str(Check("share", 1.0234, 1.05)) == "share: 1.023 (<= 1.050)"


def _call(start: float, code: str = "OK", attempts: int = 1) -> Sample:
    return Sample("product", "GetProduct", start, start + 0.01, code, "127.0.0.1:50051", attempts)


def test_a_kill_disturbs_from_the_first_call_that_it_hit_however_long_the_cluster_took_to_kill() -> None:
    calls = [_call(9.0, attempts=2), _call(10.5), _call(12.0, attempts=2), _call(12.25, "UNAVAILABLE", 3)]
    assert disturbance(Report([*calls, _call(14.0)]), asked=10.0) == 0.25


def test_a_kill_that_hit_nobody_disturbed_nobody() -> None:
    assert disturbance(Report([_call(10.5), _call(11.0)]), asked=10.0) == 0.0
