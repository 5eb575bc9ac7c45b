"""The order of scaling and restarts."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from local.rollout import Add, Remove, Replace, plan_restart, plan_scale, unavailable_for

numbers = st.sets(st.integers(1, 20))


@dataclass
class Seen:
    ready_since: float | None


@given(numbers, st.integers(0, 20))
def test_scaling_ends_with_the_numbers_from_one(present: set[int], wanted: int) -> None:
    add, remove = plan_scale(present, wanted)
    assert (present | set(add)) - set(remove) == set(range(1, wanted + 1))
    assert not set(add) & set(remove)


def test_scaling_down_removes_the_highest_numbers() -> None:
    assert plan_scale({1, 2, 3, 4}, 2) == ([], [4, 3])


def test_a_restart_replaces_one_after_another() -> None:
    assert plan_restart({1, 2, 3}, {1, 2, 3}) == [Replace(1), Replace(2), Replace(3)]


def test_a_restart_begins_with_what_is_not_ready() -> None:
    assert plan_restart({1, 2, 3}, {1, 3}) == [Replace(2), Replace(1), Replace(3)]


def test_a_lone_replica_is_stood_in_for() -> None:
    assert plan_restart({1}, {1}) == [Add(2), Replace(1), Remove(2)]


@given(numbers, st.data())
def test_a_restart_leaves_the_replicas_that_there_were(present: set[int], data: st.DataObject) -> None:
    ready = data.draw(st.sets(st.sampled_from(sorted(present)))) if present else set()
    there = set(present)
    for step in plan_restart(present, ready):
        match step:
            case Add(n):
                there.add(n)
            case Replace(n):
                assert len(there) > 1
            case Remove(n):
                there.remove(n)
    assert there == present


def test_replicas_are_available_once_they_have_been_ready_for_long_enough() -> None:
    assert unavailable_for([Seen(0.0), Seen(8.0)], now=10, min_ready=3) == 1
    assert unavailable_for([Seen(0.0), Seen(7.0)], now=10, min_ready=3) == 0


def test_nobody_knows_when_one_that_is_not_ready_will_be_available() -> None:
    assert unavailable_for([Seen(0.0), Seen(None)], now=10, min_ready=3) is None
