"""Callers send little more than an overloaded target takes, in virtual time."""

import random
from collections.abc import Iterable
from typing import Any

import grpc
import pytest

from grpcmesh.admission import CallerThrottle, ConcurrencyLimit, Gate, Priority, QueueAdmission
from grpcmesh.call import Attempt, ClientCall, Kind, Method
from grpcmesh.errors import ResourceExhausted
from grpcmesh.status import REFUSED_KEY
from grpcmesh.testing.clock import VirtualClock

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
BROWSE, CHECKOUT = (Method.parse(f"/shop.Shop/{name}", Kind.UNARY) for name in ("Browse", "Checkout"))


class Answered(Attempt):
    """An attempt whose server has answered."""

    trailing: tuple[tuple[str, str], ...] = ()

    def trailing_metadata(self) -> Iterable[tuple[str, str]]:
        return self.trailing


class Caller:
    """A caller that makes calls through a throttle to a server that accepts or refuses them."""

    def __init__(self, clock: VirtualClock, ratio: float = 2.0) -> None:
        self.clock = clock
        self.throttle = CallerThrottle("shop", ratio, clock, random.Random(3))
        self.sent = 0

    def call(self, taken: bool, method: Method = BROWSE, marked: bool = True) -> bool:
        """Make a call; return whether it was sent."""
        attempt = Answered(ClientCall(method, "shop", self.clock()), None, 1, self.clock())
        try:
            self.throttle.on_start(attempt)
        except ResourceExhausted:
            return False
        self.sent += 1
        if not taken:
            attempt.code = EXHAUSTED
            attempt.trailing = ((REFUSED_KEY, "queue"),) if marked else ()
        self.throttle.on_end(attempt)
        return True


def test_twice_as_many_are_sent_as_are_taken() -> None:
    clock = VirtualClock()
    caller, taken = Caller(clock), 0
    room = 0.0
    for _ in range(10_000):  # a thousand a second, of which the server takes a hundred
        clock.advance(0.001)
        room = min(5.0, room + 0.1)
        if caller.call(taken=room >= 1):
            taken, room = (taken + 1, room - 1) if room >= 1 else (taken, room)
    assert taken > 900
    assert 1.5 * taken < caller.sent < 2.7 * taken


def test_all_are_sent_again_soon_after_the_overload() -> None:
    clock = VirtualClock()
    caller = Caller(clock)
    for _ in range(2000):
        clock.advance(0.001)
        caller.call(taken=False)
    assert caller.sent < 0.2 * 2000
    sent = [caller.call(taken=True) for _ in range(3000) if clock.advance(0.001) is None]
    assert all(sent[2500:])
    for _ in range(5):
        clock.advance(1.0)
        assert caller.call(taken=True)
    assert not caller.throttle._methods


def test_a_method_that_is_taken_is_not_held_back_for_another() -> None:
    clock = VirtualClock()
    caller = Caller(clock)
    for _ in range(1000):
        clock.advance(0.001)
        caller.call(taken=False)
        assert caller.call(taken=True, method=CHECKOUT)


@pytest.mark.parametrize(("ratio", "marked"), [(2.0, False), (0.0, True)])
def test_an_applications_own_refusal_or_a_throttle_that_is_off_holds_nothing_back(
    ratio: float, marked: bool
) -> None:
    clock = VirtualClock()
    caller = Caller(clock, ratio)
    for _ in range(1000):
        clock.advance(0.001)
        assert caller.call(taken=False, marked=marked)
    (metric,) = caller.throttle.metrics("shop")
    assert [s.value for s in metric.samples] == [0.0]


def test_methods_are_remembered_up_to_a_bound() -> None:
    clock = VirtualClock()
    caller = Caller(clock)
    for number in range(1000):
        caller.call(taken=False, method=Method.parse(f"/shop.Shop/M{number}", Kind.UNARY))
    assert len(caller.throttle._methods) == 256


@pytest.mark.parametrize("load", [3, 5])
def test_goodput_holds_where_a_refusal_costs_a_ninth_of_a_call(load: float) -> None:
    """One thread serves calls in order. Each costs 4 ms of work and, as measured, 0.5 ms in gRPC."""

    def done(throttled: bool) -> float:
        clock, rng = VirtualClock(0.0), random.Random(5)
        caller = Caller(clock, 2.0 if throttled else 0.0)
        gate = Gate(QueueAdmission(0.02, clock), ConcurrencyLimit(4, 1000, clock), 1000, 1 << 40, 1)
        at, good = 0.0, 0
        while (at := at + rng.expovariate(load / 0.0045)) < 20.0:
            late = max(clock(), at)
            attempt = Answered(ClientCall(BROWSE, "shop", at), None, 1, at)
            try:
                caller.throttle.on_start(attempt)
            except ResourceExhausted:
                continue
            clock.advance(late - clock())
            refusal = gate.enter(Priority.DEFAULT, clock() - at, False)
            clock.advance(0.0005 if refusal else 0.0045)
            if refusal:
                attempt.code, attempt.trailing = EXHAUSTED, ((REFUSED_KEY, refusal.cause),)
            else:
                gate.leave(BROWSE.path, clock() - at, False)
                good += clock() - at < 1.0
            caller.throttle.on_end(attempt)
        return good * 0.0045 / 20.0

    assert done(throttled=True) >= 0.85
    assert done(throttled=False) < done(throttled=True)


def test_the_ratio_is_checked() -> None:
    from grpcmesh.config import ChannelConfig, ConfigError

    for wrong in (-1.0, 0.5, 1.0):
        with pytest.raises(ConfigError, match="overload_ratio"):
            ChannelConfig(overload_ratio=wrong)
    unused: Any = ChannelConfig(overload_ratio=0.0)
    assert unused.overload_ratio == 0.0
