"""Admission in virtual time on servers of known capacity: one is CPU-bound, one has a semaphore."""

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from grpcmesh.admission import AdmissionLayer, ConcurrencyLimit, Gate, Priority, QueueAdmission, Refusal
from grpcmesh.call import Kind, Method
from grpcmesh.config import AdmissionConfig, ServerConfig
from grpcmesh.errors import ResourceExhausted
from grpcmesh.status import TIMEOUT_KEY
from grpcmesh.testing.clock import VirtualClock

DEADLINE = 1.0
#: Duration of a run, in seconds.
SECONDS = 20.0
COSTS = {"Checkout": 0.010, "Browse": 0.005}
PRIORITY = {"Checkout": Priority.CRITICAL, "Browse": Priority.DEFAULT}
#: CPU seconds that a refusal costs.
REFUSAL = 0.0003


class Open(Gate):
    """A gate that admits everything."""

    def enter(self, priority: Priority, age: float, streaming: bool) -> Refusal | None:
        self.limit.started()
        return None


def make_gate(clock: VirtualClock, on: bool = True) -> Gate:
    kind = Gate if on else Open
    return kind(QueueAdmission(0.020, clock), ConcurrencyLimit(1, 1000, clock), 1000, 1 << 40, 1 << 20)


def arrivals(rate: float, seconds: float, rng: random.Random) -> list[tuple[float, str]]:
    """Return calls at random times. A tenth of them are checkouts."""
    at, out = 0.0, []
    while (at := at + rng.expovariate(rate)) < seconds:
        out.append((at, "Checkout" if rng.random() < 0.1 else "Browse"))
    return out


class Outcome:
    def __init__(self) -> None:
        self.good: Counter[str] = Counter()
        self.offered: Counter[str] = Counter()
        self.latencies: dict[str, list[float]] = {"Checkout": [], "Browse": []}

    def add(self, method: str, latency: float) -> None:
        if latency <= DEADLINE:
            self.good[method] += 1
            self.latencies[method].append(latency)

    def p99(self, method: str) -> float:
        return sorted(self.latencies[method])[int(len(self.latencies[method]) * 0.99)]


def burn_outsiders(load: float, probed: bool, seconds: float = SECONDS) -> tuple[float, QueueAdmission]:
    """Simulate a CPU-bound server whose callers do not report how long their calls have queued.

    Return the share of its capacity that is answered in time.

    Args:
        probed: Whether the process makes ten calls a second to itself, which do no work.
    """
    clock, good, cost = VirtualClock(0.0), 0, COSTS["Browse"]
    gate, rng = make_gate(clock), random.Random(5)
    assert gate.queue is not None
    probes = [(n * 0.1, "Probe") for n in range(int(seconds * 10))] if probed else []
    calls = [(at, "Browse") for at, _ in arrivals(load / cost, seconds, rng)]
    sent = deque(at for at, _ in probes)
    for at, method in sorted(probes + calls):
        clock.advance(max(0.0, at - clock()))
        gate.queue.queueing = max(0.0, clock() - sent[0]) if sent else 0.0
        if method == "Probe":
            gate.queue.saw(clock() - sent.popleft())
        elif clock() - at > DEADLINE or gate.enter(Priority.DEFAULT, None, False) is not None:
            clock.advance(REFUSAL)
        else:
            clock.advance(cost)
            # The limit on calls that run must not see the queue: it lies before the handlers.
            gate.leave(method, cost, False)
            good += clock() - at <= DEADLINE
    return good * cost / seconds, gate.queue


def test_a_probe_shows_the_queue_of_callers_that_do_not_tell_how_long_they_have_waited() -> None:
    alone, queue = burn_outsiders(3.0, probed=False)
    assert (queue.age, queue.refused_share) == (0.0, 0.0)
    helped, queue = burn_outsiders(3.0, probed=True)
    assert queue.refused_share > 0.5
    assert helped > 0.75 > 0.5 > alone


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_a_probe_of_a_server_with_room_refuses_nothing(load: float) -> None:
    good, queue = burn_outsiders(load, probed=True)
    assert good == pytest.approx(load, rel=0.1)
    assert queue.refused_share == 0.0


def burn(load: float, on: bool, seconds: float = SECONDS) -> Outcome:
    """Simulate one thread that serves calls in order of arrival, so they queue before the handlers."""
    clock, outcome = VirtualClock(0.0), Outcome()
    gate = make_gate(clock, on)
    capacity = 1 / (0.1 * COSTS["Checkout"] + 0.9 * COSTS["Browse"])
    for at, method in arrivals(load * capacity, seconds, random.Random(5)):
        outcome.offered[method] += 1
        clock.advance(max(0.0, at - clock()))
        # A call whose deadline has passed is not begun; that costs as much as a refusal.
        if clock() - at > DEADLINE or gate.enter(PRIORITY[method], clock() - at, False) is not None:
            clock.advance(REFUSAL)
            continue
        clock.advance(COSTS[method])
        gate.leave(method, clock() - at, False)
        outcome.add(method, clock() - at)
    return outcome


def semaphore(load: float, on: bool, places: int = 10, seconds: float = SECONDS) -> Outcome:
    """Simulate handlers that wait for one of `places` permits, so calls queue within the handlers."""
    clock, outcome = VirtualClock(0.0), Outcome()
    gate = make_gate(clock, on)
    costs = {method: cost * 10 for method, cost in COSTS.items()}
    capacity = places / (0.1 * costs["Checkout"] + 0.9 * costs["Browse"])
    waiting: deque[tuple[float, str]] = deque()
    running: list[tuple[float, float, str]] = []

    def until(now: float) -> None:
        while running and running[0][0] <= now:
            ends, came, method = heapq.heappop(running)
            clock.advance(max(0.0, ends - clock()))
            gate.leave(method, ends - came, False)
            outcome.add(method, ends - came)
            while waiting:
                came, method = waiting.popleft()
                if ends - came <= DEADLINE:
                    heapq.heappush(running, (ends + costs[method], came, method))
                    break
                gate.leave(method, None, False)  # cancelled at its deadline
        clock.advance(max(0.0, now - clock()))

    for at, method in arrivals(load * capacity, seconds, random.Random(5)):
        outcome.offered[method] += 1
        until(at)
        if gate.enter(PRIORITY[method], 0.0, False) is None:
            if len(running) < places:
                heapq.heappush(running, (at + costs[method], at, method))
            else:
                waiting.append((at, method))
    until(seconds + 100)
    assert gate.limit.in_flight == 0
    return outcome


def work(outcome: Outcome) -> float:
    """Return the work that was done in time, in seconds of the server's time."""
    return sum(COSTS[method] * count for method, count in outcome.good.items())


Serve = Callable[[float, bool], Outcome]


@pytest.mark.parametrize("serve", [burn, semaphore])
@pytest.mark.parametrize("load", [2, 3, 5])
def test_goodput_holds_under_overload_and_collapses_without_admission(serve: Serve, load: float) -> None:
    peak = work(serve(1.0, True))
    on, off = serve(load, True), serve(load, False)
    # What a server that burns CPU spends on refusals is gone, whatever decides on them.
    left = SECONDS - REFUSAL * (on.offered.total() - on.good.total()) if serve is burn else SECONDS
    assert work(on) >= 0.9 * min(peak, left)
    assert work(off) < 0.5 * work(on)
    assert on.good["Checkout"] / on.offered["Checkout"] > on.good["Browse"] / on.offered["Browse"]
    assert on.p99("Checkout") < 0.6 * DEADLINE


@pytest.mark.parametrize("serve", [burn, semaphore])
def test_nothing_is_refused_at_half_the_capacity(serve: Serve) -> None:
    outcome = serve(0.5, True)
    assert outcome.good.total() / outcome.offered.total() > 0.995


def test_checkout_is_served_while_browsing_is_shed() -> None:
    outcome = burn(3, True)
    assert outcome.good["Checkout"] / outcome.offered["Checkout"] > 0.97


def test_admission_is_open_again_after_the_overload() -> None:
    clock = VirtualClock()
    queue = QueueAdmission(0.020, clock)
    for _ in range(1000):
        queue.admit(Priority.DEFAULT, 0.5)
        clock.advance(0.001)
    assert queue.refused_share > 0.5
    for _ in range(3000):
        queue.admit(Priority.DEFAULT, 0.0)
        clock.advance(0.01)
    assert queue.refused_share == 0


def test_callers_that_tell_no_timeout_do_not_hide_the_queue() -> None:
    clock = VirtualClock()
    queue = QueueAdmission(0.020, clock)
    for number in range(1000):
        queue.admit(Priority.DEFAULT, None if number % 2 else 0.5)
        clock.advance(0.001)
    assert queue.refused_share > 0.3


def test_a_process_that_was_not_run_for_a_moment_refuses_nothing() -> None:
    clock = VirtualClock()
    queue = QueueAdmission(0.020, clock)
    for _ in range(20):
        for age in (0.8, 0.6, 0.4, 0.2, 0.1, 0.0):
            assert queue.admit(Priority.DEFAULT, age)
            clock.advance(0.03)
        clock.advance(1.0)


def test_a_burst_is_no_standing_queue() -> None:
    clock = VirtualClock()
    queue = QueueAdmission(0.020, clock)
    for age in (0.0, 0.05, 0.09, 0.08, 0.001) * 20:
        assert queue.admit(Priority.DEFAULT, age)
        clock.advance(0.02)


def test_a_mix_of_short_and_long_methods_is_not_taken_for_queueing() -> None:
    clock = VirtualClock()
    limit = ConcurrencyLimit(1, 20, clock)
    for number in range(2000):
        limit.started()
        clock.advance(0.01)
        limit.ended("long" if number % 2 else "short", 1.0 if number % 2 else 0.001)
    assert limit.limit == 20


def test_streams_and_memory_have_limits_of_their_own() -> None:
    clock = VirtualClock()
    gate = Gate(None, ConcurrencyLimit(1, 100, clock), 4, 10 << 20, 1 << 20)
    refusals = [gate.enter(Priority.CRITICAL, 0.0, True) for _ in range(5)]
    assert [r.cause if r else None for r in refusals] == [None] * 4 + ["streams"]
    refusals = [gate.enter(Priority.CRITICAL, 0.0, False) for _ in range(7)]
    assert [r.cause if r else None for r in refusals] == [None] * 6 + ["memory"]
    for streaming in [True] * 4 + [False] * 6:
        gate.leave("a.B/C", None, streaming)
    assert (gate.streams, gate.limit.in_flight) == (0, 0)


def test_a_thousand_streams_of_default_priority_pass_under_the_default_settings() -> None:
    """Beside them run several hundred unary calls, whose messages count, too."""
    config = AdmissionConfig()
    limit = ConcurrencyLimit(config.max_calls, config.max_calls, VirtualClock())
    gate = Gate(None, limit, config.max_streams, config.max_bytes, ServerConfig().max_receive_message)
    assert [gate.enter(Priority.DEFAULT, None, True) for _ in range(1000)] == [None] * 1000
    assert [gate.enter(Priority.DEFAULT, None, False) for _ in range(500)] == [None] * 500


@pytest.mark.parametrize("streaming", [False, True])
def test_browsing_leaves_room_for_checkout_under_every_limit(streaming: bool) -> None:
    """Of places, of streams, and of memory, whichever is the least."""
    for streams, calls, memory in ((20, 10_000, 1 << 20), (10_000, 20, 1 << 20), (10_000, 10_000, 20)):
        gate = Gate(None, ConcurrencyLimit(calls, calls, VirtualClock()), streams, memory << 20, 1 << 20)
        for priority in (Priority.SHEDDABLE, Priority.DEFAULT):
            while gate.enter(priority, 0.0, streaming) is None and gate.streams + gate.limit.in_flight < 20:
                pass
        assert gate.enter(Priority.CRITICAL, 0.0, streaming) is None


def test_streams_of_browsing_are_shed_before_a_unary_checkout() -> None:
    clock = VirtualClock()
    queue = QueueAdmission(0.020, clock)
    gate = Gate(queue, ConcurrencyLimit(1, 1000, clock), 1000, 1 << 40, 1 << 20)
    refused = Counter[str]()
    for number in range(4000):
        checkout = number % 10 == 0
        priority = Priority.CRITICAL if checkout else Priority.SHEDDABLE
        # Nobody knows the age of a stream: its timeout is an hour. The queue is the same.
        age = None if not checkout else 0.3 if queue.refused_share < 0.6 else 0.0
        if gate.enter(priority, age, not checkout) is not None:
            refused["checkout" if checkout else "browse"] += 1
        else:
            gate.leave("a.B/C", None, not checkout)
        clock.advance(0.001)
    assert refused["browse"] > 1000
    assert refused["checkout"] == 0


@pytest.mark.parametrize(
    ("timeout", "known"),
    [(0.9, True), (5.0, True), (60.0, True), (99.999, True), (100.0, False), (3600.0, False)],
)
def test_an_age_is_known_where_grpc_does_not_round_it_away(timeout: float, known: bool) -> None:
    layer = AdmissionLayer(AdmissionConfig(target_age=0.5), 1 << 20)
    call: Any = SimpleNamespace(
        metadata={TIMEOUT_KEY: str(round(timeout * 1000))}, started=10.0, deadline=10.0 + timeout - 0.4
    )
    age = layer._age(call)
    assert age == (pytest.approx(0.4) if known else None)


@pytest.mark.parametrize("target_age", [0.0, 0.001, 0.5, 3600.0])
def test_an_age_is_known_exactly_where_the_rounding_is_within_half_of_the_target(target_age: float) -> None:
    layer = AdmissionLayer(AdmissionConfig(target_age=target_age), 1 << 20)
    for digits in range(1, 13):
        told = "9" * digits
        call: Any = SimpleNamespace(metadata={TIMEOUT_KEY: told}, started=0.0, deadline=int(told) / 1000)
        rounding = max(1, 10 ** (digits - 3)) / 1000
        assert (layer._age(call) is not None) == (rounding <= target_age / 2)


def test_the_admin_page_tells_the_priorities_of_methods_that_are_served() -> None:
    told = {"shop.Orders/Create": "critical", "shop.Others/Any": "sheddable"}
    layer = AdmissionLayer(AdmissionConfig(priorities=told), 1 << 20)
    registrar: Any = None
    layer.register(registrar, lambda: [Method.parse("/shop.Orders/Create", Kind.UNARY)])
    assert layer.state()["priorities"] == {"shop.Orders/Create": "critical"}


def test_refused_calls_are_counted_by_their_priority() -> None:
    """So that a dashboard shows whether what matters less is refused first."""
    layer = AdmissionLayer(
        AdmissionConfig(min_calls=1, max_calls=10, priorities={"s.S/Low": "sheddable"}), 1 << 20
    )
    layer._gate = Gate(None, ConcurrencyLimit(1, 10, VirtualClock()), 10, 1 << 40, 1)

    def refused(method: str) -> bool:
        call: Any = SimpleNamespace(method=Method.parse(method, Kind.UNARY), metadata={}, deadline=None)
        call.trailing = ()
        try:
            layer.on_start(call)
        except ResourceExhausted:
            return True
        return False

    while not refused("/s.S/Low"):
        pass
    while not refused("/s.S/Other"):
        pass
    assert refused("/s.S/Low")
    samples = [sample for family in layer.metrics() for sample in family.samples]
    name = "mesh_admission_refused_by_priority_total"
    by_priority = {sample.labels["priority"]: sample.value for sample in samples if sample.name == name}
    assert by_priority == {"critical": 0, "default": 1, "sheddable": 2}
    assert sum(sample.value for sample in samples if sample.name == "mesh_admission_refused_total") == 3


def test_room_stays_for_what_matters_more() -> None:
    clock = VirtualClock()
    gate = Gate(None, ConcurrencyLimit(1, 10, clock), 10, 1 << 40, 1)
    for priority, most in ((Priority.SHEDDABLE, 6), (Priority.DEFAULT, 9), (Priority.CRITICAL, 10)):
        while gate.enter(priority, 0.0, False) is None:
            pass
        assert gate.limit.in_flight == most
