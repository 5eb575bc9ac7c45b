"""Guesses of an admin's password at the console."""

import pytest

from meshmart.console.throttle import MAX_KEYS, Throttle
from services.user.throttle import FREE, FREE_OF_ADDRESS, WINDOW

NOW = 1000.0


def test_one_name_from_one_address_waits_longer_and_longer() -> None:
    throttle = Throttle()
    waits = []
    now = NOW
    for _ in range(FREE + 12):
        waits.append(throttle.wait("192.0.2.1", "alice", now))
        now += waits[-1]
        throttle.begin("192.0.2.1", "alice", now)
    assert waits[:FREE] == [0.0] * FREE
    later = waits[FREE:]
    assert later[:3] == [30.0, 60.0, 120.0]
    assert later == sorted(later)
    assert later[-1] == WINDOW


def test_others_are_not_locked_out() -> None:
    throttle = Throttle()
    for _ in range(FREE * 4):
        throttle.begin("192.0.2.1", "alice", NOW)
    assert throttle.wait("192.0.2.1", "Alice", NOW) > 0
    assert throttle.wait("192.0.2.2", "alice", NOW) == 0
    assert throttle.wait("192.0.2.1", "carol", NOW) == 0


def test_many_names_from_one_address_wait_too() -> None:
    throttle = Throttle()
    for n in range(FREE_OF_ADDRESS):
        throttle.begin("192.0.2.1", f"user{n}", NOW)
    assert throttle.wait("192.0.2.1", "another", NOW) == 30
    assert throttle.wait("192.0.2.2", "another", NOW) == 0


def test_success_forgets_the_failures_of_that_name_only() -> None:
    throttle = Throttle()
    for name in ("alice", "bob"):
        for _ in range(FREE):
            throttle.begin("192.0.2.1", name, NOW)
    throttle.succeeded("192.0.2.1", "alice")
    assert throttle.wait("192.0.2.1", "alice", NOW) == 0
    assert throttle.wait("192.0.2.1", "bob", NOW) > 0


@pytest.mark.parametrize("end", [Throttle.undecided, Throttle.succeeded])
def test_what_was_no_failure_leaves_nothing_behind(end: object) -> None:
    throttle = Throttle()
    throttle.begin("192.0.2.1", "alice", NOW)
    end(throttle, "192.0.2.1", "alice")  # type: ignore[operator]
    assert len(throttle) == 0


def test_what_is_kept_is_bounded_whatever_names_come() -> None:
    throttle = Throttle()
    for n in range(MAX_KEYS):
        throttle.begin(f"192.0.2.{n}", f"user{n}", NOW)
    assert len(throttle) == MAX_KEYS
