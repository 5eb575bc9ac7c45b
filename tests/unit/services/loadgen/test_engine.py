"""An open loop: arrivals keep to the schedule, whatever becomes of them."""

import asyncio
import itertools
from typing import Any

import pytest

from grpcmesh.testing.clock import run_in_virtual_time
from services.loadgen.engine import Journey, Load, Recorder
from services.loadgen.report import Report


def loaded(journey: Journey, seconds: float, *, rps: float = 10, limit: int = 1000) -> Report:
    async def run() -> Report:
        clock = asyncio.get_running_loop().time
        return await Load(journey, rps, limit=limit, clock=clock).run(seconds)

    return run_in_virtual_time(run())


def taking(*seconds: float) -> Journey:
    """A journey of calls that take so long."""

    async def journey(recorder: Recorder) -> None:
        for each in seconds:
            await asyncio.sleep(each)
            recorder.record("product", "GetProduct", "OK", "a", 1)

    return journey


def test_a_slow_server_does_not_slow_the_arrivals() -> None:
    report = loaded(taking(5.0), 10)
    starts = sorted(s.intended for s in report.samples)
    assert len(starts) == pytest.approx(100, abs=1)
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert gaps == pytest.approx([0.1] * len(gaps))


def test_latency_counts_from_when_the_schedule_wanted_the_call() -> None:
    async def journey(recorder: Recorder) -> None:
        nonlocal stalled
        if not stalled:
            stalled = True
            loop: Any = asyncio.get_running_loop()
            loop.clock.advance(1.0)  # the whole process hangs, so the arrivals of a second start late
        recorder.record("product", "GetProduct", "OK", "a", 1)

    stalled = False
    report = loaded(journey, 2)
    late = sorted(s.latency for s in report.samples if s.latency > 0.05)
    assert late == pytest.approx([0.1 * i for i in range(1, 11)], abs=0.02)


def test_later_calls_of_a_journey_count_from_the_end_of_the_one_before() -> None:
    report = loaded(taking(0.2, 0.3), 1)
    assert {round(s.latency, 6) for s in report.samples} == {0.2, 0.3}


def test_arrivals_above_the_limit_are_dropped_and_counted() -> None:
    report = loaded(taking(100.0), 5, limit=10)
    assert report.dropped == pytest.approx(40, abs=1)
    assert report.samples == []


def test_a_bug_of_a_journey_ends_the_run_at_once_and_is_raised() -> None:
    async def journey(recorder: Recorder) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loaded(journey, 10_000)


def test_whoever_waits_for_a_failure_hears_of_it() -> None:
    async def journey(recorder: Recorder) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        load = Load(journey, 10, clock=asyncio.get_running_loop().time)
        with pytest.raises(ZeroDivisionError):
            async with load:
                await load.failed()

    run_in_virtual_time(run())


@pytest.mark.parametrize("rps", [0, -1, 10_001, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(rps: float) -> None:
    with pytest.raises(ValueError, match="rps"):
        Load(taking(), rps)
