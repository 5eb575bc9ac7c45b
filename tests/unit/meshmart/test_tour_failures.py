"""What a scene says when it fails, and when it says that it has measured nothing."""

import asyncio
import os

import pytest

from grpcmesh.testing.clock import run_in_virtual_time
from meshmart.tour.check import Check, Outcome
from meshmart.tour.failures import MOST, failures
from meshmart.tour.starvation import PERIOD, Starvation, Watch, watched
from services.loadgen.report import Report, Sample


def _call(start: float, code: str, endpoint: str | None, seconds: float = 0.01) -> Sample:
    return Sample("product", "GetProduct", start, start + seconds, code, endpoint, 1)


def test_failures_name_the_code_the_replica_and_the_time() -> None:
    calls = [
        _call(100.0, "OK", "127.0.0.1:50051"),
        _call(101.0, "UNAVAILABLE", "127.0.0.1:50051"),
        _call(103.5, "UNAVAILABLE", "127.0.0.1:50051", 2.0),
        _call(104.0, "DEADLINE_EXCEEDED", None, 1.0),
    ]
    first, second = failures(Report(calls, dropped=3), {"127.0.0.1:50051": "product/1"})[:2]
    assert first == (
        "UNAVAILABLE product/GetProduct at product/1: 2, from 1.00 s to 5.50 s after the first call, "
        "the slowest in 2.00 s"
    )
    assert second.startswith("DEADLINE_EXCEEDED product/GetProduct at no replica: 1, from 4.00 s to 5.00 s")
    assert failures(Report(calls, dropped=3), {})[-1] == "3 not sent: too many were in flight"


def test_there_are_so_many_lines_and_no_more() -> None:
    calls = [_call(float(n), "UNAVAILABLE", f"10.0.0.{n}:50051") for n in range(100)]
    lines = failures(Report(calls), {})
    assert len(lines) == MOST + 1
    assert lines[-1] == f"and {100 - MOST} more"


def test_a_load_without_failures_has_nothing_to_say() -> None:
    assert failures(Report([_call(0.0, "OK", "a")]), {}) == ()


def _watched(waits: list[float]) -> Starvation:
    """What is seen where the process waits so long between one look and the next."""

    async def test() -> Starvation:
        total = 0.0
        looks = iter([0.0, *waits])

        def waited() -> float:
            nonlocal total
            total += next(looks, 0.0)
            return total

        async with watched(clock=asyncio.get_running_loop().time, waited=waited) as watch:
            await asyncio.sleep(PERIOD * (len(waits) + 0.5))
        (seen,) = watch.processes
        return seen

    return run_in_virtual_time(test())


@pytest.mark.parametrize(
    ("waits", "starved"),
    [
        ([0.0] * 50, False),
        ([0.01] * 50, False),  # a tenth of the time: busy, not starved
        ([0.03] * 50, True),  # nearly a third
        ([*[0.0] * 50, 0.6], True),  # once, for longer than a bound allows
        ([0.09, 0.09], False),  # most of a moment: a scene that ended at once has failed
    ],
)
def test_who_waits_long_or_often_is_starved(waits: list[float], starved: bool) -> None:
    seen = _watched(waits)
    assert seen.waited == pytest.approx(sum(waits))
    assert seen.starved is starved


async def test_this_process_is_watched_by_the_kernels_word_or_by_its_lag() -> None:
    async with watched({"product/1": os.getpid(), "product/2": 2**22 - 1}) as watch:
        ours, *replicas = watch.processes
        while ours.elapsed < 3 * PERIOD:  # noqa: ASYNC110 - it has no event to wait for
            await asyncio.sleep(PERIOD)
    assert 0 <= ours.waited <= ours.elapsed
    if replicas:  # on Linux: the second one is no process
        assert [r.name for r in replicas] == ["product/1", "product/2"]
        assert replicas[0].elapsed > 0 == replicas[1].elapsed


def test_the_verdict_names_this_process_first_and_then_who_waited_longest() -> None:
    ours = Starvation(elapsed=10, waited=1)
    one, two = Starvation("order/1", 10, 4, 0.2), Starvation("order/2", 10, 6, 0.3)
    assert Watch([ours]).verdict == ""
    told = Watch([ours, one, two]).verdict
    assert told == "order/2 waited 6.0 s of 10.0 s for a CPU, 0.30 s at a time (and 1 more)"
    ours.add(0.5, 0.5)
    assert Watch([one, ours]).verdict.startswith("this process waited 1.5 s of 10.5 s")


def test_a_bound_that_a_starved_process_missed_was_not_measured() -> None:
    missed, kept = Check("failed calls", 278, 0, relation="=="), Check("failed calls", 0, 0, relation="==")
    starved = "this process waited 9.1 s of 12.0 s for a CPU, 1.20 s at a time"
    outcome = Outcome("kill", (missed,), starved=starved)
    assert (outcome.passed, outcome.measured, outcome.verdict) == (False, False, "not measured")
    assert outcome.as_dict()["measured"] is False
    assert outcome.as_dict()["starved"] == starved
    assert Outcome("kill", (missed,)).verdict == "FAILED"
    assert Outcome("kill", (kept,), starved=starved).measured  # kept all the same


def test_details_are_told_of_what_failed_only() -> None:
    assert Check("x", 1, 0, relation="==", details=("why",)).as_dict()["details"] == ["why"]
    assert "details" not in Check("x", 0, 0, relation="==", details=("why",)).as_dict()
