"""Every policy, slow start and zones, in virtual time and with a seeded rng."""

import random
import time
from collections import Counter
from typing import ClassVar, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.balancer import (
    Balancer,
    BalancerPolicy,
    Endpoint,
    LoadReport,
    PolicyFactory,
    State,
    Verdict,
)
from grpcmesh.balancer.weighted import BLACKOUT, EXPIRY, StaticStride
from grpcmesh.call import ClientCall
from grpcmesh.config import BalancerConfig, BalancerPolicyName
from grpcmesh.service_config import LoadBalancing
from grpcmesh.testing.clock import VirtualClock

POLICIES: tuple[BalancerPolicyName, ...] = get_args(BalancerPolicyName)


class Bench:
    """A balancer over `count` endpoints, all of them ready and past slow start."""

    def __init__(
        self, policy: BalancerPolicyName, count: int, slow_start: float = 1.0, zone: str = ""
    ) -> None:
        self.clock = VirtualClock()
        config = BalancerConfig(policy=policy, slow_start=slow_start, zone=zone)
        self.balancer = Balancer(config, "ping", self.clock, random.Random(7))
        self.endpoints = [Endpoint(f"10.0.0.{i}:1") for i in range(count)]
        self.balancer.replace(self.endpoints)
        for endpoint in self.endpoints:
            self.balancer.set_state(endpoint, State.READY)
        self.clock.advance(slow_start)

    def join(self, endpoint: Endpoint) -> None:
        self.endpoints = [*self.endpoints, endpoint]
        self.balancer.replace(self.endpoints)
        self.balancer.set_state(endpoint, State.READY)

    def picked(self) -> Endpoint:
        endpoint = self.balancer.pick()
        assert endpoint is not None
        return endpoint

    def shares(self, picks: int, every: float = 0.0) -> Counter[str]:
        counts: Counter[str] = Counter()
        for _ in range(picks):
            counts[self.picked().address] += 1
            self.clock.advance(every)
        return counts

    def serve(self, seconds: float, rate: float, latency: dict[str, float]) -> Counter[str]:
        """Make calls at an even rate, each as long as its endpoint takes. Count them by endpoint."""
        counts: Counter[str] = Counter()
        running: list[tuple[float, Endpoint]] = []
        for _ in range(int(seconds * rate)):
            self.clock.advance(1 / rate)
            for ends, endpoint in [r for r in running if r[0] <= self.clock()]:
                running.remove((ends, endpoint))
                endpoint.in_flight -= 1
                self.balancer.policy.ended(endpoint, latency[endpoint.address], True)
            endpoint = self.picked()
            endpoint.in_flight += 1
            counts[endpoint.address] += 1
            running.append((self.clock() + latency[endpoint.address], endpoint))
        for _, endpoint in running:
            endpoint.in_flight -= 1
        return counts


@pytest.mark.parametrize("policy", ["round_robin", "weighted_round_robin"])
def test_turns_are_exactly_equal(policy: BalancerPolicyName) -> None:
    assert set(Bench(policy, 3).shares(3000).values()) == {1000}


@pytest.mark.parametrize("policy", POLICIES)
def test_equal_endpoints_get_about_equal_shares(policy: BalancerPolicyName) -> None:
    bench = Bench(policy, 3)
    counts = bench.serve(100, 100, {e.address: 0.005 for e in bench.endpoints})
    assert max(counts.values()) / min(counts.values()) < 1.1


@pytest.mark.parametrize("policy", POLICIES)
def test_another_endpoint_than_the_one_that_failed_is_picked(policy: BalancerPolicyName) -> None:
    bench = Bench(policy, 3)
    avoid = bench.endpoints[1]
    assert all(bench.balancer.pick(avoid) is not avoid for _ in range(100))


@pytest.mark.parametrize("policy", POLICIES)
def test_the_only_endpoint_is_picked_even_if_it_failed(policy: BalancerPolicyName) -> None:
    bench = Bench(policy, 1)
    assert bench.balancer.pick(bench.endpoints[0]) is bench.endpoints[0]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_new_endpoint_warms_up_and_then_gets_its_share(policy: BalancerPolicyName) -> None:
    bench = Bench(policy, 2, slow_start=10.0)
    new = Endpoint("10.0.1.1:1")
    bench.join(new)
    latency = {e.address: 0.005 for e in bench.endpoints}
    early = bench.serve(1, 1000, latency)[new.address]
    bench.clock.advance(10)
    late = bench.serve(3, 1000, latency)[new.address]
    assert 10 <= early <= 150
    assert late == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize("policy", POLICIES)
def test_endpoints_that_all_warm_up_share_evenly(policy: BalancerPolicyName) -> None:
    bench = Bench(policy, 3, slow_start=10.0)
    for endpoint in bench.endpoints:
        bench.balancer.set_state(endpoint, State.FAILED)
        bench.balancer.set_state(endpoint, State.READY)
    counts = bench.shares(3000, every=0.001)
    assert max(counts.values()) / min(counts.values()) < 1.15


def test_fairness_is_exact_again_after_a_warm_up() -> None:
    bench = Bench("round_robin", 3)
    bench.join(Endpoint("10.0.1.1:1"))
    bench.shares(1000, every=0.001)
    assert set(bench.shares(400).values()) == {100}


def test_round_robin_clients_do_not_start_at_the_same_endpoint() -> None:
    firsts = set()
    for seed in range(30):
        balancer = Balancer(BalancerConfig(slow_start=0), "ping", VirtualClock(), random.Random(seed))
        endpoints = [Endpoint(str(i)) for i in range(3)]
        balancer.replace(endpoints)
        for endpoint in endpoints:
            balancer.set_state(endpoint, State.READY)
        first = balancer.pick()
        assert first is not None
        firsts.add(first.address)
    assert len(firsts) == 3


@pytest.mark.parametrize("policy", ["least_request", "peak_ewma"])
def test_a_slow_endpoint_gets_less(policy: BalancerPolicyName) -> None:
    bench = Bench(policy, 3)
    fast, also_fast, slow = (e.address for e in bench.endpoints)
    counts = bench.serve(30, 200, {fast: 0.005, also_fast: 0.005, slow: 0.3})
    assert counts[slow] < counts[fast] / 3


def test_peak_ewma_tries_a_slow_endpoint_again_after_a_while() -> None:
    bench = Bench("peak_ewma", 2)
    slow = bench.endpoints[0]
    bench.balancer.policy.ended(slow, 5.0, True)
    bench.balancer.policy.ended(bench.endpoints[1], 0.01, True)
    assert bench.shares(50)[slow.address] == 0
    bench.clock.advance(120)
    assert bench.serve(5, 100, {e.address: 0.01 for e in bench.endpoints})[slow.address] > 50


def test_peak_ewma_does_not_take_failure_for_speed() -> None:
    bench = Bench("peak_ewma", 2)
    failing = bench.endpoints[0]
    before = failing.latency
    bench.balancer.policy.ended(failing, 0.000001, False)
    assert failing.latency == before


def report(bench: Bench, utilization: dict[str, float], seconds: float) -> None:
    for _ in range(int(seconds)):
        for endpoint in bench.endpoints:
            if endpoint.address in utilization:
                load = LoadReport(cpu_utilization=utilization[endpoint.address], qps=100)
                bench.balancer.policy.reported(endpoint, load)
        bench.clock.advance(1)


def test_weights_follow_load_reports() -> None:
    bench = Bench("weighted_round_robin", 3)
    a, b, c = (e.address for e in bench.endpoints)
    report(bench, {a: 0.2, b: 0.4, c: 0.8}, BLACKOUT + 2)
    counts = bench.shares(7000)
    assert counts[a] == pytest.approx(4000, rel=0.01)
    assert counts[b] == pytest.approx(2000, rel=0.01)
    assert counts[c] == pytest.approx(1000, rel=0.01)


def test_reports_are_not_believed_at_first_nor_for_ever() -> None:
    bench = Bench("weighted_round_robin", 2)
    a, b = (e.address for e in bench.endpoints)
    report(bench, {a: 0.1, b: 0.9}, BLACKOUT - 2)
    assert set(bench.shares(100).values()) == {50}
    report(bench, {a: 0.1, b: 0.9}, 4)
    assert bench.shares(1000)[a] > 850
    bench.clock.advance(EXPIRY + 1)
    assert set(bench.shares(100).values()) == {50}


def test_an_endpoint_without_reports_gets_the_mean() -> None:
    bench = Bench("weighted_round_robin", 3)
    a, b, silent = (e.address for e in bench.endpoints)
    report(bench, {a: 0.25, b: 0.5}, BLACKOUT + 2)
    counts = bench.shares(9000)
    assert counts[silent] == pytest.approx(3000, rel=0.01)
    assert counts[a] == pytest.approx(4000, rel=0.01)


def test_errors_weigh_against_an_endpoint() -> None:
    healthy = LoadReport(cpu_utilization=0.5, qps=100)
    assert healthy.weight() == 200
    assert LoadReport(cpu_utilization=0.5, qps=100, eps=50).weight() == 100
    assert LoadReport(cpu_utilization=0.5, application_utilization=0.25, qps=100).weight() == 400
    assert LoadReport(qps=100).weight() == 0


@given(st.lists(st.floats(0.5, 5.0), min_size=1, max_size=20), st.integers(0, 10**6))
def test_a_static_stride_keeps_to_its_weights(weights: list[float], start: int) -> None:
    stride, turn, counts = StaticStride(weights), start, Counter[int]()
    for _ in range(4000):
        index, turn = stride.pick(turn)
        counts[index] += 1
    for index, weight in enumerate(weights):
        assert counts[index] == pytest.approx(4000 * weight / sum(weights), rel=0.1, abs=8)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_load_report_survives_the_wire(cpu: float, app: float, qps: float, eps: float) -> None:
    load = LoadReport(cpu, app, qps, eps)
    assert LoadReport.decode(load.encode()) == load


@given(st.binary(max_size=60))
def test_no_bytes_make_a_load_report_fail(data: bytes) -> None:
    LoadReport.decode(data)


def test_unknown_fields_of_a_load_report_are_skipped() -> None:
    # mem_utilization (2), rps (3, varint), a map entry of utilization (5).
    extra = b"\x11" + bytes(8) + b"\x18\xff\x01" + b"\x2a\x03abc"
    load = LoadReport(cpu_utilization=0.5)
    assert LoadReport.decode(extra + load.encode()) == load


def test_the_preferred_zone_is_used_while_it_has_anyone() -> None:
    bench = Bench("round_robin", 0, zone="a")
    near, far = Endpoint("1", "a"), Endpoint("2", "b")
    bench.join(near)
    bench.join(far)
    assert bench.shares(10) == {"1": 10}
    bench.balancer.set_state(near, State.UNHEALTHY)
    assert bench.shares(10) == {"2": 10}


@pytest.mark.parametrize(("ready", "share"), [(10, 1.0), (8, 1.0), (5, 0.7), (1, 0.14), (0, 0.0)])
@pytest.mark.parametrize("policy", POLICIES)
def test_a_zone_that_has_lost_endpoints_keeps_as_many_calls_as_it_can_take(
    policy: BalancerPolicyName, ready: int, share: float
) -> None:
    bench = Bench(policy, 0, zone="a")
    near = [Endpoint(f"near-{i}", "a") for i in range(10)]
    far = [Endpoint(f"far-{i}", "b") for i in range(10)]
    for endpoint in (*near, *far):
        bench.join(endpoint)
    bench.clock.advance(10)
    for endpoint in near[ready:]:
        bench.balancer.set_state(endpoint, State.UNHEALTHY)
    counts = bench.shares(4000)
    kept = sum(count for address, count in counts.items() if address.startswith("near")) / 4000
    assert kept == pytest.approx(share, abs=0.05)
    assert bench.balancer.zones() == {"preferred": "a", "share": pytest.approx(share)}


def test_a_zone_with_too_few_endpoints_is_not_preferred() -> None:
    config = BalancerConfig(zone="a", zone_min_endpoints=2, slow_start=0.0)
    balancer = Balancer(config, "ping", VirtualClock(), random.Random(7))
    near, far = [Endpoint("near-0", "a"), Endpoint("near-1", "a")], [Endpoint("far", "b")]
    balancer.replace([*near, *far])
    for endpoint in (near[0], *far):
        balancer.set_state(endpoint, State.READY)
    assert {balancer.pick() for _ in range(20)} == {near[0], far[0]}
    balancer.set_state(near[1], State.READY)
    assert {balancer.pick() for _ in range(20)} == set(near)


def test_a_retry_may_leave_the_zone_and_a_zone_that_is_told_later_counts() -> None:
    config = BalancerConfig(zone="a", slow_start=0.0)
    balancer = Balancer(config, "ping", VirtualClock(), random.Random(7))
    near, far = Endpoint("near"), Endpoint("far", "b")
    balancer.replace([near, far])
    for endpoint in (near, far):
        balancer.set_state(endpoint, State.READY)
    assert {balancer.pick() for _ in range(20)} == {near, far}
    balancer.set_zone(near, "a")
    assert {balancer.pick() for _ in range(20)} == {near}
    assert {balancer.pick(avoid=near) for _ in range(20)} == {far}


def test_a_target_may_have_a_policy_of_its_own() -> None:
    config = BalancerConfig(policy="random", targets={"product": "least_request"})
    assert Balancer(config, "product").policy_name == "least_request"
    assert Balancer(config, "order").policy_name == "random"


def test_calls_wait_while_something_is_on_its_way_and_fail_when_all_is_lost() -> None:
    balancer = Balancer(BalancerConfig(), "ping", VirtualClock())
    assert (balancer.pick(), balancer.verdict) == (None, Verdict.WAIT)
    balancer.replace([])
    assert balancer.verdict is Verdict.WAIT
    one, two = Endpoint("1"), Endpoint("2")
    balancer.replace([one, two])
    balancer.set_state(one, State.FAILED, "refused")
    assert balancer.verdict is Verdict.WAIT
    balancer.set_state(two, State.UNHEALTHY)
    assert balancer.verdict is Verdict.FAIL
    assert balancer.why() == "no endpoint of ping is ready: 1 failed (refused); 2 unhealthy"
    balancer.replace([])
    assert balancer.verdict is Verdict.FAIL
    assert balancer.why() == "no endpoint of ping is known"


def test_a_balancer_shows_its_endpoints() -> None:
    bench = Bench("round_robin", 1)
    bench.picked()
    assert repr(bench.balancer) == "<round_robin of ping: [<10.0.0.0:1 ready in_flight=0 picks=1>]>"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_pick_costs_the_same_at_3_and_at_300(policy: BalancerPolicyName) -> None:
    few, many = Bench(policy, 3), Bench(policy, 300)

    def cost(bench: Bench) -> float:
        # CPU of this thread: a busy machine does not count.
        started = time.thread_time()
        for _ in range(2000):
            bench.balancer.pick()
        return time.thread_time() - started

    for bench in (few, many):  # outside what is measured: weights are computed once a second
        bench.picked()
    costs = [(cost(few), cost(many)) for _ in range(9)]  # in turns: both meet the same machine
    assert min(m for _, m in costs) < 3 * min(f for f, _ in costs)


class Last(BalancerPolicy):
    """Picks the last endpoint, and knows how attempts ended."""

    wants_latency = True
    latencies: ClassVar[list[float]] = []

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        return self.endpoints[-1]

    def ended(self, endpoint: Endpoint, latency: float, ok: bool) -> None:
        self.latencies.append(latency)


class Wrong(BalancerPolicy):
    """Raises, or picks an endpoint that is none."""

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        if self.rng.random() < 0.5:
            raise KeyError("no such zone")
        return Endpoint("10.0.0.99:1")


def own(policy: PolicyFactory) -> Balancer:
    made = Balancer(BalancerConfig(slow_start=0), "ping", VirtualClock(), random.Random(7), own=policy)
    endpoints = [Endpoint(f"10.0.0.{i}:1") for i in range(3)]
    made.replace(endpoints)
    for endpoint in endpoints:
        made.set_state(endpoint, State.READY)
    return made


def test_a_policy_of_the_application_picks_whatever_the_service_config_says() -> None:
    balancer = own(Last)
    balancer.configure(LoadBalancing("least_request"))
    picked = [balancer.pick() for _ in range(10)]
    assert {e.address for e in picked if e} == {balancer.rotation[-1].address}
    assert balancer.policy_name == "Last"
    balancer.policy.ended(balancer.rotation[0], 0.25, True)
    assert balancer.policy.wants_latency
    assert Last.latencies == [0.25]


def test_a_policy_that_fails_costs_no_call_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    balancer = own(Wrong)
    counts = Counter(e.address for _ in range(300) if (e := balancer.pick()))
    assert set(counts) == {"10.0.0.0:1", "10.0.0.1:1", "10.0.0.2:1"}
    assert sum(counts.values()) == 300
    assert len([r for r in caplog.records if "policy Wrong failed" in r.getMessage()]) == 1
