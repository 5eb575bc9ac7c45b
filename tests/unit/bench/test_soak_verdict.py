"""Which failures a disturbance excuses, and which slopes break a bound."""

import json

import pytest

from bench.soak.injector import Occurrence
from bench.soak.journeys import Failed
from bench.soak.sampler import Sample, as_row, from_rows
from bench.soak.schedule import Disturbance
from bench.soak.verdict import (
    EXCUSES,
    JUDGED_FROM,
    LONG_ENOUGH,
    Verdict,
    around,
    judge_journeys,
    judge_slopes,
    judge_starvation,
    starved_spells,
)

OUTAGE = Occurrence(Disturbance(100, "database", 3, how="fast"), 100, 106)
AFTERMATH = next(e.aftermath for e in EXCUSES if "database" in e.kinds)


def _failed(
    began: float, ended: float, call: str = "product/GetProduct UNAVAILABLE", scenario: str = "browse"
) -> Failed:
    return Failed(scenario, began, ended, (call,))


def _judged(failed: Failed, *occurrences: Occurrence) -> Verdict:
    verdict = Verdict()
    judge_journeys(verdict, [failed], occurrences)
    return verdict


@pytest.mark.parametrize(
    ("failed", "kept"),
    [
        (_failed(101, 102), True),
        (_failed(98, 100.5), True),  # it was under way when the database stopped
        (_failed(106 + AFTERMATH, 112), True),
        (_failed(90, 99), False),
        (_failed(106.1 + AFTERMATH, 112), False),
        (_failed(101, 102, "product/GetProduct INTERNAL"), False),
        (_failed(101, 102, "journey HANGS"), False),
        (_failed(101, 102, "order/CreateOrder UNAVAILABLE", "order"), False),  # asks again for a minute
    ],
)
def test_a_restart_of_the_database_excuses_what_it_must(failed: Failed, kept: bool) -> None:
    verdict = _judged(failed, OUTAGE)
    assert verdict.kept is kept
    assert len(verdict.excused) == kept


@pytest.mark.parametrize(
    ("kind", "service", "call", "kept"),
    [
        ("kill", "order", "order/CreateOrder UNAVAILABLE", True),
        ("hang", "chat", "chat/Chat DEADLINE_EXCEEDED", True),
        (
            "kill",
            "payment",
            "order/CreateOrder UNAVAILABLE",
            False,
        ),  # order repeats the payment, with its key
        ("kill", "order", "order/GetOrder UNAVAILABLE", False),
        ("hang", "product", "product/GetProduct DEADLINE_EXCEEDED", False),
        ("scale", "order", "order/CreateOrder UNAVAILABLE", False),  # a drain finishes what it has begun
        ("kill", "storefront", "storefront/home ReadError", True),
        ("scale", "storefront", "storefront/home ReadError", False),
        ("kill", "product", "storefront/home HTTP_503", False),
    ],
)
def test_only_what_must_not_be_repeated_may_fail_with_its_replica(
    kind: str, service: str, call: str, kept: bool
) -> None:
    occurrence = Occurrence(Disturbance(100, kind, 3, service, 2), 100, 106)
    assert _judged(_failed(101, 102, call, "buy"), occurrence).kept is kept
    assert not _judged(_failed(107, 108, call, "buy"), occurrence).kept
    assert not _judged(Failed("buy", 101, 102, (call, "user/Login UNAVAILABLE")), occurrence).kept


@pytest.mark.parametrize("kind", ["scale", "rotate", "dns", "slow"])
def test_a_disturbance_that_the_mesh_stands_excuses_nothing(kind: str) -> None:
    assert not _judged(
        _failed(101, 102), Occurrence(Disturbance(100, kind, service="product"), 100, 106)
    ).kept
    assert not _judged(_failed(101, 102)).kept


def test_disturbances_beside_a_failure_are_told_whether_or_not_they_excuse() -> None:
    kill = Occurrence(Disturbance(90, "kill", service="order", replica=2), 90, 95)
    assert around(_failed(101, 102), [kill, OUTAGE]) == [kill, OUTAGE]
    assert around(_failed(120.9, 122), [kill, OUTAGE]) == [OUTAGE]


def _life(process: str, pid: int, begin: float, end: float, per_hour: float = 0.0) -> list[Sample]:
    return [
        Sample(at, process, pid, 80 + per_hour * (at - begin) / 3600, 70, 40, 20)
        for at in range(int(begin), int(end), 5)
    ]


def _slopes(*samples: list[Sample], judged: bool = True) -> Verdict:
    verdict = Verdict()
    judge_slopes(verdict, [s for each in samples for s in each], 600, ["product/1"], judged)
    return verdict


def test_a_process_that_leaks_breaks_the_bound_and_one_that_does_not_keeps_it() -> None:
    assert not _slopes(_life("product/1", 1, 0, 3600, 30)).kept
    assert _slopes(_life("product/1", 1, 0, 3600)).kept
    leaking = [rise for rise in _slopes(_life("product/1", 1, 0, 3600, 30)).rises if rise.broken]
    assert [(rise.process, rise.figure) for rise in leaking] == [("product/1", "rss")]


def test_a_rise_during_the_warm_up_does_not_count() -> None:
    assert _slopes(_life("product/1", 1, 0, 600, 300), _life("product/1", 1, 600, 3600)).kept
    warming, warm = _life("product/2", 2, 1500, 2100, 300), _life("product/2", 2, 2100, 3600)
    assert _slopes(_life("product/1", 1, 0, 3600), warming, warm).kept


def test_a_process_that_was_killed_has_a_slope_of_its_own_if_it_lived_long_enough_after_its_warm_up() -> None:
    spared, dead = _life("product/1", 1, 0, 3600), _life("product/2", 2, 600, 1200 + LONG_ENOUGH - 10)
    leaking = _life("product/2", 3, 1000, 1000 + JUDGED_FROM + 10, 30)
    assert {rise.process for rise in _slopes(spared, dead).rises} == {"product/1"}
    assert not _slopes(spared, dead, leaking).kept


def test_a_process_that_lived_shorter_than_a_judged_run_is_shown_and_not_judged() -> None:
    spared, killed = _life("product/1", 1, 0, 3600), _life("product/2", 2, 1000, 1000 + JUDGED_FROM - 10, 30)
    verdict = _slopes(spared, killed)
    assert verdict.kept
    assert {rise.process for rise in verdict.rises if not rise.judged} == {"product/2"}


def test_a_run_without_the_slope_it_promises_is_broken_and_a_short_one_promises_none() -> None:
    short = _life("product/1", 1, 0, 700)
    assert _slopes(short).problems == ["no slope of product/1: they did not live long enough"]
    assert _slopes(short, judged=False).kept


def test_a_process_that_is_still_warming_up_is_shown_and_not_judged() -> None:
    verdict = _slopes(_life("product/1", 1, 0, 3600, 30), judged=False)
    assert verdict.kept
    assert [rise.figure for rise in verdict.rises] == ["rss", "fds", "tasks"]


def test_a_spared_process_that_was_restarted_breaks_the_bound() -> None:
    verdict = _slopes(_life("product/1", 1, 0, 650), _life("product/1", 2, 650, 3600))
    assert verdict.problems == ["product/1 was restarted, although no disturbance ends it"]


def test_samples_are_read_from_the_file_of_the_run_again() -> None:
    life = _life("product/1", 1, 0, 20)
    lines = [json.dumps(as_row(sample)) for sample in life]
    assert from_rows([*lines, json.dumps({"row": "disturbance", "kind": "kill"})]) == life


def _waiting(begin: int, end: int, share: float) -> list[Sample]:
    times = range(begin, end + 1, 5)
    return [Sample(at, "product/1", 1, 80, 70, 40, 20, waited=share * (at - begin)) for at in times]


def test_a_late_answer_of_a_starved_machine_is_not_measured_and_a_lost_connection_is() -> None:
    spells = starved_spells(_waiting(100, 120, 0.3))
    assert [(s.began, s.ended) for s in spells] == [(100, 105), (105, 110), (110, 115), (115, 120)]
    assert _judged(_failed(101, 106, "product/GetProduct DEADLINE_EXCEEDED"), *spells).kept
    assert not _judged(_failed(101, 106, "product/GetProduct UNAVAILABLE"), *spells).kept
    assert not _judged(_failed(121, 126, "product/GetProduct DEADLINE_EXCEEDED"), *spells).kept
    assert starved_spells(_waiting(100, 120, 0.2)) == []


@pytest.mark.parametrize(("seconds", "kept"), [(20, True), (40, False)])
def test_a_run_that_was_starved_for_long_says_nothing(seconds: int, kept: bool) -> None:
    verdict = Verdict()
    twice = [*starved_spells(_waiting(0, seconds, 0.5)), *starved_spells(_waiting(0, seconds, 0.9))]
    judge_starvation(verdict, twice, 100)
    assert verdict.starved == seconds / 100
    assert verdict.kept is kept
