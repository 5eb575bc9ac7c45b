"""Outlier detection in virtual time: gRFC A50's sweeps, and the mesh's additions."""

import random
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grpcmesh.outlier import Change, OutlierDetector, Record, State
from grpcmesh.service_config import FailurePercentageEjection, OutlierDetection, SuccessRateEjection
from grpcmesh.testing.clock import VirtualClock

SWEEPS = OutlierDetection(
    interval=10,
    base_ejection_time=30,
    max_ejection_time=100,
    max_ejection_percent=50,
    failure_percentage_ejection=FailurePercentageEjection(threshold=50, minimum_hosts=3, request_volume=10),
)
AT_ONCE = OutlierDetection(
    base_ejection_time=30, max_ejection_percent=50, consecutive_failures=5, stall_time=0.5
)


class Target:
    """A detector over some endpoints, in virtual time."""

    def __init__(self, config: OutlierDetection, count: int = 5) -> None:
        self.clock = VirtualClock()
        self.detector = OutlierDetector(config, self.clock, random.Random(1))
        self.records = [Record(f"10.0.0.{i}:50051") for i in range(count)]
        self.detector.replace(self.records, self.records)

    def call(self, index: int, ok: bool | None = True, latency: float = 0.0) -> list[Change]:
        """Make one attempt, from its start to its end."""
        record = self.records[index]
        self.detector.started(record)
        self.clock.advance(latency)
        return self.detector.ended(record, ok, latency)

    def calls(self, index: int, good: int, bad: int = 0) -> list[Change]:
        return [c for ok in [True] * good + [False] * bad for c in self.call(index, ok)]

    def lose(self, index: int, attempts: int) -> list[Change]:
        """Break the connection while these attempts are in flight, and restore it."""
        record = self.records[index]
        for _ in range(attempts):
            self.detector.started(record)
        self.clock.advance(0.01)
        self.detector.replace([r for r in self.records if r is not record], self.records)
        changes = [c for _ in range(attempts) for c in self.detector.ended(record, False, 0.01)]
        self.clock.advance(0.01)
        self.detector.replace(self.records, self.records)
        return changes

    def sweep(self) -> list[Change]:
        """Advance to the next end of an interval, and make the attempt that triggers the sweep."""
        self.clock.advance(self.detector._config.interval)
        return self.call(0)

    def states(self) -> list[State]:
        return [r.state for r in self.records]


def causes(changes: Iterable[Change]) -> list[tuple[str, str]]:
    return [(c.record.name, c.cause) for c in changes]


def test_an_endpoint_that_fails_more_often_than_the_threshold_is_ejected_at_the_sweep() -> None:
    target = Target(SWEEPS)
    for index in range(4):
        target.calls(index, good=10)
    assert target.calls(4, good=4, bad=6) == []
    [change] = target.sweep()
    assert causes([change]) == [("10.0.0.4:50051", "failure percentage")]
    assert change.duration == 30
    assert target.detector.ejections["failure_percentage"] == 1


def test_a_share_at_the_threshold_and_too_few_calls_eject_nobody() -> None:
    target = Target(SWEEPS)
    for index in range(3):
        target.calls(index, good=10)
    target.calls(3, good=5, bad=5)
    target.calls(4, good=0, bad=9)
    assert target.sweep() == []


def test_too_few_hosts_with_volume_eject_nobody() -> None:
    target = Target(SWEEPS)
    target.calls(0, good=10)
    target.calls(1, good=0, bad=20)
    assert target.sweep() == []


def test_a_success_rate_far_below_the_mean_ejects() -> None:
    config = replace(
        SWEEPS,
        failure_percentage_ejection=None,
        success_rate_ejection=SuccessRateEjection(stdev_factor=1900, minimum_hosts=5, request_volume=20),
    )
    target = Target(config, count=10)
    for index in range(9):
        target.calls(index, good=99, bad=1)
    target.calls(9, good=70, bad=30)
    assert causes(target.sweep()) == [("10.0.0.9:50051", "success rate")]


@pytest.mark.parametrize(("percentage", "ejected"), [(0, 0), (100, 1)])
def test_the_enforcement_percentage_decides_how_many_outliers_are_ejected(
    percentage: int, ejected: int
) -> None:
    config = FailurePercentageEjection(50, percentage, 3, 10)
    target = Target(replace(SWEEPS, failure_percentage_ejection=config))
    for index in range(4):
        target.calls(index, good=10)
    target.calls(4, good=0, bad=10)
    assert len(target.sweep()) == ejected


def test_failures_in_a_row_eject_at_once_and_a_success_between_them_does_not() -> None:
    target = Target(AT_ONCE)
    assert target.calls(1, good=0, bad=4) == []
    assert target.calls(1, good=1, bad=4) == []
    assert causes(target.call(1, ok=False)) == [("10.0.0.1:50051", "consecutive failures")]


def test_an_endpoint_whose_connections_break_again_and_again_is_ejected() -> None:
    target = Target(AT_ONCE)
    assert [target.lose(1, attempts=2) for _ in range(4)] == [[]] * 4
    assert causes(target.lose(1, attempts=2)) == [("10.0.0.1:50051", "consecutive failures")]
    assert target.states()[1] is State.EJECTED


def test_a_connection_that_breaks_is_one_failure_however_many_attempts_it_takes_along() -> None:
    """A process that is killed under load and restarts at once is not an outlier."""
    target = Target(replace(SWEEPS, consecutive_failures=5))
    for index in range(5):
        target.calls(index, good=10)
    assert target.lose(1, attempts=50) == []
    assert target.sweep() == []
    assert target.states() == [State.ADMITTED] * 5


def test_an_ejection_outlasts_the_connection() -> None:
    target = Target(AT_ONCE)
    target.calls(1, good=0, bad=5)
    assert target.lose(1, attempts=1) == []
    assert target.states()[1] is State.EJECTED
    target.clock.advance(29)
    assert target.detector.due() == []
    others = [r for r in target.records if r is not target.records[1]]
    target.detector.replace(others, target.records)
    target.clock.advance(1)
    [change] = target.detector.due()
    assert (change.record, change.state) == (target.records[1], State.PROBING)
    assert target.detector.next_probe(True) is None  # it is not connected
    target.detector.replace(target.records, target.records)
    assert target.detector.next_probe(True) is target.records[1]


def test_the_cap_counts_those_that_are_ready() -> None:
    target = Target(AT_ONCE, count=3)
    target.detector.replace(target.records[:2], target.records)
    target.calls(0, good=0, bad=5)
    assert target.calls(1, good=0, bad=5) == []  # the last one in rotation
    assert causes(target.calls(2, good=0, bad=5)) == []
    assert target.states() == [State.EJECTED, State.ADMITTED, State.ADMITTED]


def test_cancelled_attempts_say_nothing() -> None:
    target = Target(AT_ONCE)
    for _ in range(20):
        assert target.call(1, ok=None) == []
    assert target.states() == [State.ADMITTED] * 5


def test_each_ejection_is_longer_up_to_the_longest_and_good_intervals_shorten_the_next() -> None:
    target = Target(replace(AT_ONCE, max_ejection_time=70))
    record = target.records[1]
    durations = []
    for _ in range(4):
        [change] = target.calls(1, good=0, bad=5) if record.state is State.ADMITTED else target.call(1, False)
        durations.append(change.duration)
        target.clock.advance(change.duration)
        assert [c.state for c in target.detector.due()] == [State.PROBING]
    assert durations == [30, 60, 70, 70]
    target.call(1, ok=True)
    for _ in range(4):
        target.sweep()
    assert record.multiplier == 0


def test_an_endpoint_returns_after_one_good_probe_and_leaves_again_after_a_bad_one() -> None:
    target = Target(AT_ONCE)
    record = target.records[1]
    target.calls(1, good=0, bad=5)
    target.clock.advance(29.9)
    assert target.detector.due() == []
    target.clock.advance(0.1)
    assert [c.state for c in target.detector.due()] == [State.PROBING]
    assert causes(target.call(1, ok=False)) == [("10.0.0.1:50051", "probe failed")]
    target.clock.advance(60)
    target.detector.due()
    [change] = target.call(1, ok=True)
    assert (change.state, record.state) == (State.ADMITTED, State.ADMITTED)


def test_an_attempt_from_before_the_ejection_is_not_taken_for_the_probe() -> None:
    target = Target(AT_ONCE)
    record = target.records[1]
    target.detector.started(record)
    target.calls(1, good=0, bad=5)
    target.clock.advance(30)
    target.detector.due()
    target.detector.ended(record, True, 30.5)
    assert record.state is State.PROBING


@pytest.mark.parametrize("answered", [True, False])
def test_a_call_whose_pick_ends_the_ejection_is_its_probe(answered: bool) -> None:
    target = Target(AT_ONCE)
    record = target.records[1]
    target.calls(1, good=0, bad=5)
    target.clock.advance(29.999)
    began = target.clock()
    target.clock.advance(0.001)  # a call's time begins before an endpoint is picked for it
    assert [c.state for c in target.detector.due()] == [State.PROBING]
    assert target.detector.next_probe(idempotent=True) is record
    target.detector.started(record)
    [change] = target.detector.ended(record, answered, target.clock() - began)
    assert change.state is (State.ADMITTED if answered else State.EJECTED)


def test_a_cancelled_probe_leaves_the_place_to_the_next() -> None:
    target = Target(AT_ONCE)
    record = target.records[1]
    target.calls(1, good=0, bad=5)
    target.clock.advance(30)
    target.detector.due()
    target.call(1, ok=None)
    assert (record.state, record.probe_under_way) == (State.PROBING, False)


def test_an_endpoint_that_stops_answering_is_ejected_at_the_next_pick() -> None:
    target = Target(AT_ONCE)
    record = target.records[1]
    for _ in range(3):
        target.detector.started(record)
    target.clock.advance(0.4)
    assert target.detector.check(record) is None
    target.clock.advance(0.1)
    change = target.detector.check(record)
    assert change is not None
    assert causes([change]) == [("10.0.0.1:50051", "stalled")]


def test_one_slow_call_and_a_target_whose_answers_take_long_are_no_stall() -> None:
    target = Target(AT_ONCE)
    record = target.records[1]
    target.detector.started(record)
    target.clock.advance(5)
    assert target.detector.check(record) is None
    target.call(2, latency=3)
    for _ in range(3):
        target.detector.started(record)
    target.clock.advance(5.9)
    assert target.detector.check(record) is None
    target.clock.advance(0.2)
    assert target.detector.check(record) is not None


def test_silent_streams_are_no_stall() -> None:
    target = Target(AT_ONCE)
    for _ in range(10):
        target.detector.started(target.records[1], unary=False)
    target.clock.advance(100)
    assert target.detector.check(target.records[1]) is None


def test_a_call_that_cannot_be_retried_probes_only_where_no_other_came() -> None:
    target = Target(AT_ONCE)
    target.calls(1, good=0, bad=5)
    target.clock.advance(30)
    target.detector.due()
    assert target.detector.next_probe(idempotent=False) is None
    assert target.detector.next_probe(idempotent=True) is target.records[1]
    target.clock.advance(30)
    assert target.detector.next_probe(idempotent=False) is target.records[1]
    target.detector.started(target.records[1])
    assert target.detector.next_probe(idempotent=True) is None


@pytest.mark.parametrize(
    ("percent", "count", "most"), [(0, 5, 1), (10, 5, 1), (50, 5, 3), (100, 5, 4), (100, 1, 0)]
)
def test_the_cap_lets_one_go_always_and_the_last_one_never(percent: int, count: int, most: int) -> None:
    target = Target(replace(AT_ONCE, max_ejection_percent=percent), count)
    for index in range(count):
        target.calls(index, good=0, bad=5)
    assert target.detector.ejected == most
    assert target.detector.capped >= count - most


class Anything(RuleBasedStateMachine):
    """A state machine that checks the invariants under any order of events."""

    @initialize(percent=st.integers(0, 100), count=st.integers(1, 6))
    def begin(self, percent: int, count: int) -> None:
        config = replace(AT_ONCE, max_ejection_percent=percent, interval=1, base_ejection_time=2)
        self.target = Target(
            replace(config, failure_percentage_ejection=FailurePercentageEjection(30, 100, 1, 3)), count
        )
        self.percent, self.running = percent, [0] * count

    @rule(index=st.integers(0, 5))
    def start(self, index: int) -> None:
        index %= len(self.target.records)
        record = self.target.records[index]
        if record.state is State.EJECTED or (record.state is State.PROBING and record.probe_under_way):
            return
        if self.target.detector.check(record) is None:
            self.target.detector.started(record)
            self.running[index] += 1

    @precondition(lambda self: any(self.running))
    @rule(index=st.integers(0, 5), ok=st.sampled_from([True, False, None]), latency=st.floats(0, 3))
    def end(self, index: int, ok: bool | None, latency: float) -> None:
        index %= len(self.target.records)
        if self.running[index]:
            self.running[index] -= 1
            self.target.detector.ended(self.target.records[index], ok, latency)

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.target.clock.advance(seconds)
        self.target.detector.due()

    @invariant()
    def holds(self) -> None:
        records, detector = self.target.records, self.target.detector
        assert [r.in_flight for r in records] == self.running
        assert detector.ejected < len(records)
        assert detector.ejected <= max(1, -(-self.percent * len(records) // 100))
        for record in records:
            assert record.state is State.EJECTED or record.returns_at <= self.target.clock()


TestAnything = Anything.TestCase
