"""The polling budget, in virtual time."""

from collections import Counter

import pytest

from meshmart.console.schedule import Budget, Schedule

BUDGET = Budget()


def run(replicas: int, seconds: float, watched: bool = True, hung: int = 0) -> tuple[Counter[str], int]:
    """Return how often each replica was read, and the most readings that were started at one moment.

    The first `hung` replicas take the whole timeout, the others no time.
    """
    schedule, names = Schedule(BUDGET), [f"r{i}" for i in range(replicas)]
    read, running, most, now = Counter[str](), list[tuple[float, str]](), 0, 0.0
    while now < seconds:
        for end, name in list(running):
            if end <= now:
                running.remove((end, name))
                schedule.done(name)
        due = schedule.due(names, now, watched)
        most = max(most, len(due))
        for name in due:
            read[name] += 1
            if int(name[1:]) < hung:
                running.append((now + BUDGET.timeout, name))
            else:
                schedule.done(name)
        assert len(running) <= BUDGET.concurrent
        now += 0.05
    return read, most


def test_each_replica_is_read_every_interval_and_not_all_at_once() -> None:
    read, most = run(20, 110)
    assert set(read) == {f"r{i}" for i in range(20)}
    assert all(98 <= count <= 102 for count in read.values())
    assert most <= 3


def test_nobody_watching_means_fewer_readings() -> None:
    read, _ = run(20, 100, watched=False)
    assert all(19 <= count <= 21 for count in read.values())


def test_the_budget_holds_for_any_number_of_replicas() -> None:
    read, _ = run(3000, 60)
    assert read.total() <= BUDGET.reads * 60 * 1.02
    assert min(read.values()) >= 2


def test_replicas_that_hang_do_not_keep_others_from_being_read() -> None:
    read, _ = run(40, 110, hung=10)
    assert all(read[f"r{i}"] >= 95 for i in range(10, 40))
    assert all(read[f"r{i}"] >= 30 for i in range(10))


def test_a_viewer_who_comes_does_not_wait_for_the_idle_interval() -> None:
    schedule = Schedule(BUDGET)
    for name in schedule.due(["a"], 0.0, watched=False):
        schedule.done(name)
    assert schedule.due(["a"], 0.1, watched=True) == []
    assert schedule.due(["a"], 0.1 + BUDGET.interval, watched=True) == ["a"]


def test_a_reading_that_is_under_way_is_not_started_again() -> None:
    schedule = Schedule(BUDGET)
    assert schedule.due(["a"], 0.0, watched=True) == ["a"]
    assert schedule.due(["a"], 100.0, watched=True) == []
    schedule.done("a")
    assert schedule.due(["a"], 100.0, watched=True) == ["a"]


def test_what_is_gone_is_forgotten() -> None:
    schedule = Schedule(BUDGET)
    schedule.due(["a", "b"], 0.0, watched=True)
    schedule.due(["b"], 0.0, watched=True)
    assert set(schedule._next) == {"b"}


@pytest.mark.parametrize(("replicas", "interval"), [(1, 1.1), (165, 1.1), (300, 2.0), (3000, 20.0)])
def test_the_interval_is_stated(replicas: int, interval: float) -> None:
    assert BUDGET.interval_of(replicas, watched=True) == pytest.approx(interval)


def test_a_frame_is_at_most_two_seconds_behind() -> None:
    assert BUDGET.interval + BUDGET.push <= 2.0
