"""Fairness of the balancer: no lockstep of methods, no reward for failing fast, affinity, subsets."""

import heapq
import random
from collections import Counter
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.balancer import Balancer, Endpoint, LoadReport, State
from grpcmesh.balancer.policy import SlowStart
from grpcmesh.balancer.ring_hash import RingHash
from grpcmesh.balancer.subsetting import Subset
from grpcmesh.balancer.weighted import BLACKOUT
from grpcmesh.balancer.xxhash import xxh64
from grpcmesh.call import ClientCall, Kind, Method
from grpcmesh.config import BalancerConfig, BalancerPolicyName
from grpcmesh.testing.clock import VirtualClock

POLICIES: tuple[BalancerPolicyName, ...] = get_args(BalancerPolicyName)


def call(method: str = "Get", *metadata: tuple[str, str | bytes]) -> ClientCall:
    return ClientCall(Method.parse(f"/a.B/{method}", Kind.UNARY), "b", 0.0, list(metadata))


class Target:
    """A balancer over endpoints that are ready, in virtual time."""

    def __init__(self, policy: BalancerPolicyName, count: int) -> None:
        self.clock = VirtualClock()
        self.balancer = Balancer(BalancerConfig(policy=policy), "b", self.clock, random.Random(7))
        self.endpoints = [Endpoint(f"10.0.0.{i}:1") for i in range(count)]
        self.balancer.replace(self.endpoints)
        for endpoint in self.endpoints:
            self.balancer.set_state(endpoint, State.READY)
        self.clock.advance(10)

    def pick(self, method: str = "Get") -> Endpoint:
        endpoint = self.balancer.pick(None, call(method))
        assert endpoint is not None
        return endpoint

    def drive(self, workers: int, calls: int, latency: dict[str, float], failing: str) -> Counter[str]:
        """Let workers make calls one after the other. The failing endpoint answers with an error."""
        counts: Counter[str] = Counter()
        ends: list[tuple[float, int, Endpoint, float]] = []
        for number in range(calls):
            if number >= workers:
                at, _, endpoint, began = heapq.heappop(ends)
                self.clock.advance(max(0.0, at - self.clock()))
                endpoint.in_flight -= 1
                ok = endpoint.address != failing
                self.balancer.policy.ended(endpoint, self.clock() - began, ok)
            endpoint = self.pick()
            endpoint.in_flight += 1
            counts[endpoint.address] += 1
            now = self.clock()
            heapq.heappush(ends, (now + latency[endpoint.address], number, endpoint, now))
        for _, _, endpoint, _ in ends:
            endpoint.in_flight -= 1
        return counts


@pytest.mark.parametrize("policy", ["round_robin", "weighted_round_robin"])
@pytest.mark.parametrize(("methods", "count"), [(2, 2), (3, 3), (2, 4), (6, 3)])
def test_each_method_has_equal_shares_however_calls_alternate(
    policy: BalancerPolicyName, methods: int, count: int
) -> None:
    target = Target(policy, count)
    for endpoint in target.endpoints if policy == "weighted_round_robin" else ():
        target.balancer.policy.reported(endpoint, LoadReport(cpu_utilization=0.5, qps=100))
    target.clock.advance(BLACKOUT + 1)
    shares: dict[str, Counter[str]] = {f"M{i}": Counter() for i in range(methods)}
    for number in range(120 * methods):
        method = f"M{number % methods}"
        shares[method][target.pick(method).address] += 1
    for counts in shares.values():
        assert set(counts.values()) == {120 // count}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("workers", [1, 8, 60])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_an_endpoint_that_fails_fast_draws_no_more_than_its_share(
    policy: BalancerPolicyName, workers: int, count: int
) -> None:
    target = Target(policy, count)
    failing = target.endpoints[0].address
    latency = {e.address: 0.010 for e in target.endpoints} | {failing: 0.0005}
    target.drive(workers, 300, latency, failing)
    counts = target.drive(workers, 6000, latency, failing)
    assert counts[failing] / counts.total() < 1.12 / count


def test_an_endpoint_that_only_ever_failed_is_no_magnet() -> None:
    target = Target("peak_ewma", 3)
    failing = target.endpoints[0].address
    latency = {e.address: 0.050 for e in target.endpoints} | {failing: 0.0001}
    counts = target.drive(4, 6000, latency, failing)
    assert counts[failing] / counts.total() < 0.37


def ring(addresses: Sequence[str], **sizes: int) -> RingHash:
    clock = VirtualClock()
    policy = RingHash(SlowStart(0, clock), clock, random.Random(3), "user", **sizes)
    policy.update([Endpoint(address) for address in addresses])
    return policy


ADDRESSES = [f"10.0.0.{i}:50051" for i in range(10)]


def owner(policy: RingHash, key: str) -> str:
    return policy.pick(None, call("Get", ("user", key))).address


def test_a_key_keeps_its_endpoint_and_keys_spread() -> None:
    policy, again = ring(ADDRESSES), ring(list(reversed(ADDRESSES)))
    owners = {key: owner(policy, key) for key in map(str, range(2000))}
    assert owners == {key: owner(again, key) for key in owners}
    counts = Counter(owners.values())
    assert len(counts) == 10
    assert max(counts.values()) / min(counts.values()) < 2


def test_an_endpoint_that_leaves_moves_only_its_own_keys() -> None:
    before, after = ring(ADDRESSES), ring(ADDRESSES[1:])
    moved = {key for key in map(str, range(2000)) if owner(before, key) != owner(after, key)}
    # The number of places of each endpoint grows with fewer endpoints, which moves a few more.
    assert all(owner(before, key) == ADDRESSES[0] for key in moved) or len(moved) < 2000 * 0.25


def test_a_retry_of_a_key_goes_to_the_next_on_the_ring() -> None:
    policy = ring(ADDRESSES)
    first = policy.pick(None, call("Get", ("user", "7")))
    others = {policy.pick(first, call("Get", ("user", "7"))).address for _ in range(20)}
    assert len(others) == 1
    assert others != {first.address}


def test_calls_without_the_header_go_anywhere_and_several_values_are_one_key() -> None:
    policy = ring(ADDRESSES)
    assert len({policy.pick(None, call()).address for _ in range(200)}) == 10
    both = policy.pick(None, call("Get", ("user", "a"), ("user", "b"))).address
    assert both == owner(policy, "a,b")


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        # Of the xxhash package 3.6.
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 7, 0x9E755206156676D7),
        (b"10.244.0.17:50051_12", 0, 0x21309D86C56566D1),
        (b"x" * 100, 7, 0xAE5AD321E4FE6127),
    ],
)
def test_the_hash_is_xxh64(text: bytes, seed: int, expected: int) -> None:
    assert xxh64(text, seed) == expected


@given(st.sets(st.integers(0, 10_000), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 99))
def test_a_subset_changes_by_one_endpoint_when_one_goes(numbers: set[int], size: int, seed: int) -> None:
    addresses = [f"10.0.0.{n}:1" for n in numbers]
    subset = Subset(size, random.Random(seed))
    chosen = set(subset.choose(addresses))
    assert len(chosen) == min(size, len(addresses))
    assert len(chosen - set(subset.choose(addresses[1:]))) <= 1


def test_subsets_of_many_clients_spread_over_the_servers() -> None:
    servers = [f"10.0.0.{i}:1" for i in range(100)]
    counts = Counter(a for i in range(500) for a in Subset(20, random.Random(i)).choose(servers))
    assert len(counts) == 100
    assert max(counts.values()) / min(counts.values()) < 2


def test_without_a_size_all_endpoints_are_used() -> None:
    assert list(Subset(None, random.Random(1)).choose(["a", "b"])) == ["a", "b"]
