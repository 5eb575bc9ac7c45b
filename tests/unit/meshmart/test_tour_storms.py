"""The figures of the scenes retry-storm, overload and sick-replica, from reports that are made up."""

from typing import Any

import pytest

from meshmart.tour import overload, retry_storm
from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, few_failed_calls
from services.loadgen.report import Report, Sample

DOWN, WELL = 1.0, 9.0


@pytest.fixture
def stage() -> Stage:
    nothing: Any = None
    return Stage(nothing, nothing, nothing, lambda text: None, nothing)


def read(intended: float, code: str = "OK", attempts: int = 1, latency: float = 0.1) -> Sample:
    return Sample("product", "GetProduct", intended, intended + latency, code, "10.0.0.1:50051", attempts)


def failed(checks: list[Check]) -> set[str]:
    return {check.what.split(",")[0] for check in checks if not check.passed}


def outage(retries: int, *later: Sample) -> Report:
    """Return a report of 900 reads in nine seconds, all but the first hundred of which fail."""
    reads = [read(n / 100, "OK" if n < 100 else "UNAVAILABLE") for n in range(900)]
    for n in range(retries):
        reads[100 + n] = read(1 + n / 100, "UNAVAILABLE", attempts=2)
    return Report([*reads, *later])


def test_a_storm_within_the_budget_passes_and_its_end_is_measured_from_the_last_failure(stage: Stage) -> None:
    checks = retry_storm._checks(stage, outage(180, read(9.3, "UNAVAILABLE"), read(9.5)), DOWN, WELL)
    assert failed(checks) == set()
    assert [c.measured for c in checks] == pytest.approx([800, 180, 20, 0.3])


def test_one_retry_more_than_the_budget_and_failures_after_the_outage_fail(stage: Stage) -> None:
    checks = retry_storm._checks(stage, outage(181, read(10.1, "UNAVAILABLE")), DOWN, WELL)
    assert failed(checks) == {"extra load by retries", "until no read fails any more"}


def test_a_storm_in_which_nobody_retried_or_nothing_failed_proves_nothing(stage: Stage) -> None:
    assert failed(retry_storm._checks(stage, outage(0), DOWN, WELL)) == {"retries"}
    calm = Report([read(n / 100) for n in range(900)])
    assert failed(retry_storm._checks(stage, calm, DOWN, WELL)) == {"retries", "reads that failed meanwhile"}


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
