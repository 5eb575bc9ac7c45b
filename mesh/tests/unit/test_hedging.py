"""When a call is hedged: gRFC A6, and the percentile of recent latency."""

import random

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.hedging import Hedging, LatencyHistogram
from grpcmesh.service_config import HedgingPolicy
from grpcmesh.testing.clock import VirtualClock

UNAVAILABLE, NOT_FOUND = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND


def hedging(clock: VirtualClock | None = None, **config: float) -> Hedging:
    policy = HedgingPolicy(3, config.get("delay", 0.1), config.get("percentile"), frozenset({UNAVAILABLE}))
    return Hedging(policy, clock or VirtualClock())


def test_another_attempt_follows_after_the_delay_up_to_the_most() -> None:
    assert [hedging().after_start(n) for n in (1, 2, 3, 4)] == [0.1, 0.1, None, None]


@pytest.mark.parametrize(
    ("code", "attempts", "pushback", "expected"),
    [
        (UNAVAILABLE, 1, None, 0.0),
        (UNAVAILABLE, 1, 0.25, 0.25),
        (UNAVAILABLE, 1, -1.0, None),
        (UNAVAILABLE, 3, None, None),
        (NOT_FOUND, 1, None, None),
    ],
)
def test_what_follows_a_failure(
    code: grpc.StatusCode, attempts: int, pushback: float | None, expected: float | None
) -> None:
    assert hedging().after_failure(code, attempts, pushback) == expected


def test_only_codes_that_are_named_are_not_fatal() -> None:
    assert not hedging().fatal(UNAVAILABLE)
    assert hedging().fatal(NOT_FOUND)


def test_with_a_percentile_nothing_is_hedged_before_latency_is_known() -> None:
    clock = VirtualClock()
    policy = hedging(clock, percentile=95, delay=0.0)
    assert policy.after_start(1) is None
    for number in range(100):
        policy.answered(0.010 if number < 90 else 0.200)
    clock.advance(0.1)
    delay = policy.after_start(1)
    assert delay == pytest.approx(0.2, rel=0.2)


def test_the_delay_is_never_below_the_one_configured() -> None:
    policy = hedging(percentile=95, delay=0.5)
    for _ in range(100):
        policy.answered(0.010)
    assert policy.after_start(1) == 0.5


@given(st.lists(st.floats(0.0005, 50), min_size=30, max_size=300), st.sampled_from([50.0, 90.0, 99.0]))
def test_a_percentile_is_right_within_a_bucket(latencies: list[float], percentile: float) -> None:
    histogram = LatencyHistogram(percentile, VirtualClock())
    for latency in latencies:
        histogram.add(latency)
    value = histogram.value()
    assert value is not None
    assert sum(x <= value * 1.001 for x in latencies) >= percentile / 100 * len(latencies) - 1e-6
    assert sum(x < value / 1.21 for x in latencies) <= percentile / 100 * len(latencies) + 1e-6


def test_old_latency_is_forgotten() -> None:
    clock, rng = VirtualClock(), random.Random(1)
    histogram = LatencyHistogram(90, clock)
    for _ in range(1000):
        histogram.add(1.0)
        clock.advance(0.01)
    for _ in range(20_000):
        histogram.add(0.010 + rng.random() * 0.001)
        clock.advance(0.05)
    assert histogram.value() == pytest.approx(0.011, rel=0.25)
