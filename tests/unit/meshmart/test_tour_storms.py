"""The figures of the scenes retry-storm, overload and sick-replica, from reports that are made up."""

from typing import Any

import pytest

from meshmart.tour import overload, retry_storm
from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, few_failed_calls
from services.loadgen.report import Report, Sample

DOWN = 1.0


@pytest.fixture
def stage() -> Stage:
    nothing: Any = None
    return Stage(nothing, nothing, nothing, lambda text: None, nothing)


def read(intended: float, code: str = "OK", attempts: int = 1, latency: float = 0.1) -> Sample:
    return Sample("product", "GetProduct", intended, intended + latency, code, "10.0.0.1:50051", attempts)


def failed(checks: list[Check]) -> set[str]:
    return {check.what.split(",")[0] for check in checks if not check.passed}


def outage(retries: int) -> Report:
    """Return a report of 901 reads, all but the first hundred of which fail."""
    reads = [read(n / 100, "OK" if n < 100 else "UNAVAILABLE") for n in range(901)]
    for n in range(retries):
        reads[100 + n] = read(1 + n / 100, "UNAVAILABLE", attempts=2)
    return Report(reads)


@pytest.mark.parametrize(
    ("retries", "missed"),
    [
        (181, set()),  # a budget of 180.2
        (182, {"extra load of 20.2 %: retries of 901 reads"}),
        (0, {"retries"}),  # nobody retried: that proves nothing
    ],
)
def test_the_retries_of_a_storm_are_a_share_of_its_calls(retries: int, missed: set[str]) -> None:
    assert failed(retry_storm._storm(outage(retries), DOWN)) == missed


def test_a_storm_in_which_nothing_failed_proves_nothing() -> None:
    calm = Report([read(n / 100) for n in range(900)])
    assert failed(retry_storm._storm(calm, DOWN)) == {"retries", "reads that failed meanwhile"}


@pytest.mark.parametrize(("last", "measured"), [(8.9, 0.0), (9.3, 0.3), (10.1, 1.1)])
def test_the_end_of_an_outage_is_measured_by_the_last_call_that_failed(
    stage: Stage, last: float, measured: float
) -> None:
    check = retry_storm._end(stage, Report([read(8.8), read(last, "UNAVAILABLE"), read(10.2)]), well=9.0)
    assert (check.measured, check.passed) == (pytest.approx(measured), measured <= 1.0)


def reads(refused: int, latency: float = 0.01) -> Report:
    return Report([read(1.0)] * 100 + [read(1.0, "RESOURCE_EXHAUSTED", latency=latency)] * refused)


def orders(confirmed: int, other: int) -> Report:
    samples = [("OK", confirmed), ("PENDING", other)]
    return Report(
        [Sample("order", "CreateOrder", 1.0, 2.0, c, None, 1) for c, n in samples for _ in range(n)]
    )


@pytest.mark.parametrize(
    ("goodput", "of_reads", "of_orders", "missed"),
    [
        (108.0, reads(200), orders(40, 2), set()),
        (107.9, reads(200), orders(40, 2), {"goodput"}),
        (120.0, reads(0), orders(40, 0), {"reads refused"}),
        (120.0, reads(200, latency=0.31), orders(40, 0), {"p95 of a refusal"}),
        (120.0, reads(200), orders(40, 3), {"confirmed orders of 43"}),
        (120.0, reads(200), orders(0, 0), {"confirmed orders of 0"}),
    ],
)
def test_each_figure_of_an_overload_has_its_bound(
    stage: Stage, goodput: float, of_reads: Report, of_orders: Report, missed: set[str]
) -> None:
    assert failed(overload._checks(stage, 120.0, goodput, of_reads, of_orders)) == missed


def test_one_failed_call_of_a_thousand_is_few_and_two_are_not(stage: Stage) -> None:
    def of(bad: int) -> Check:
        calls = [read(n / 100, "INTERNAL" if n < bad else "OK") for n in range(1000)]
        return few_failed_calls(stage, [Report(calls[:500]), Report(calls[500:])])

    assert (of(1).passed, of(2).passed) == (True, False)
    assert of(2).details[0].startswith("INTERNAL product/GetProduct at 10.0.0.1:50051: 2, ")
