"""The polling budget, in virtual time."""

from collections import Counter
from collections.abc import Collection

import pytest

from meshmart.console.schedule import OPEN, Budget, Schedule, Selection

BUDGET = Budget()


def run(
    replicas: int, seconds: float, watched: bool = True, hung: int = 0, selected: Collection[str] = ()
) -> tuple[Counter[str], int]:
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
        due = schedule.due(names, now, watched, selected)
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


def test_what_viewers_have_selected_is_read_every_interval_in_a_large_mesh_too() -> None:
    service = [f"r{i}" for i in range(1000, 1050)]
    read, most = run(3000, 66, selected=service)
    assert all(55 <= read[name] <= 61 for name in service)
    others = [count for name, count in read.items() if name not in service]
    assert len(others) == 2950
    assert min(others) >= 2
    assert read.total() <= BUDGET.reads * 66 * 1.02
    assert most <= BUDGET.concurrent


def test_with_as_many_selected_as_may_be_the_budget_holds_and_others_get_their_share() -> None:
    selected = [f"r{i}" for i in range(BUDGET.most_selected)]
    read, _ = run(3000, 90, selected=selected)
    assert read.total() <= BUDGET.reads * 90 * 1.02
    assert sum(read[name] for name in selected) <= BUDGET.selected * BUDGET.reads * 90 * 1.02
    assert min(read.values()) >= 2


def test_what_is_selected_is_read_at_once_and_in_turn() -> None:
    schedule, names = Schedule(BUDGET), [f"r{i}" for i in range(3000)]
    for name in schedule.due(names, 0.0, watched=True):
        schedule.done(name)
    selected, seen = names[2000:2050], list[list[str]]()
    for tick in range(1, 13):
        due = schedule.due(names, tick / 10, watched=True, selected=selected)
        seen.append([name for name in due if name in selected])
        for name in due:
            schedule.done(name)
    assert {name for names in seen for name in names} == set(selected)
    assert max(map(len, seen)) <= 7


def test_nothing_is_preferred_while_nobody_watches() -> None:
    read, _ = run(20, 100, watched=False, selected=["r1"])
    assert read["r1"] <= 21


@pytest.mark.parametrize(("selected", "interval"), [(0, 20.0), (50, 28.2), (82, 38.7)])
def test_the_interval_of_the_others_is_stated(selected: int, interval: float) -> None:
    assert BUDGET.interval_of(3000, watched=True, selected=selected) == pytest.approx(interval, abs=0.1)


def test_a_selection_ends_when_its_panel_is_no_longer_asked_for() -> None:
    selection = Selection(10)
    selection.ask(["a", "b"], 0.0)
    selection.ask(["b"], 5.0)
    assert set(selection.at(OPEN - 0.1)) == {"a", "b"}
    assert set(selection.at(OPEN + 0.1)) == {"b"}
    assert set(selection.at(OPEN + 5.0)) == set()


def test_of_too_many_selected_those_that_were_asked_for_last_count() -> None:
    selection = Selection(3)
    selection.ask(["a", "b"], 0.0)
    selection.ask(["c", "d"], 1.0)
    assert set(selection.at(1.0)) == {"b", "c", "d"}
    selection.ask(["a", "b", "c", "d", "e"], 2.0)
    assert set(selection.at(2.0)) == {"a", "b", "c"}


@pytest.mark.parametrize("hung", [0, 50])
def test_many_viewers_who_select_everything_neither_exceed_the_budget_nor_hide_a_replica(hung: int) -> None:
    schedule, selection = Schedule(BUDGET), Selection(BUDGET.most_selected)
    services = [[f"s{service}-{n}" for n in range(50)] for service in range(60)]
    names = [name for service in services for name in service]
    slow = set(names[:hung])
    read, running = Counter[str](), list[tuple[float, str]]()
    for tick in range(1800):  # a panel asks every five seconds; the 64 of them take turns
        now = tick / 10
        if tick % 50 < 64:
            for viewer in range(tick % 50, 64, 50):
                selection.ask(services[viewer % 60], now)
        for name in [name for end, name in running if end <= now]:
            schedule.done(name)
        running = [(end, name) for end, name in running if end > now]
        for name in schedule.due(names, now, True, selection.at(now)):
            read[name] += 1
            running.append((now + (BUDGET.timeout if name in slow else 0), name))
    assert read.total() <= BUDGET.reads * 180 * 1.02
    assert set(read) == set(names)


def test_after_a_pause_the_budget_is_not_made_up_for() -> None:
    schedule, names = Schedule(BUDGET), [f"r{i}" for i in range(3000)]
    for now in (0.0, 60.0):
        due = schedule.due(names, now, watched=True)
        assert len(due) <= BUDGET.concurrent
        for name in due:
            schedule.done(name)
    again = schedule.due(names, 60.01, watched=True)
    assert len(again) <= BUDGET.reads / 10
