"""The effect of each feature, on and off, with many clients that decide as the library does."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.simulation.scenarios import (
    AFFINE,
    FULL,
    HEDGED,
    KEYED,
    NAIVE_RETRIES,
    OFF,
    ON,
    SMALL,
    WEIGHTED,
    ZONED,
    Size,
    failing,
    hanging,
    not_serving,
    nothing,
    outage,
    rolling_restart,
    simulate,
    slow,
    zone_away,
)

CROWD = Size(clients=20, servers=10, rate=40.0, seconds=14)


def fingerprint(seed: int) -> list[tuple[int, int, int, float]]:
    run = simulate(SMALL, ON, failing(0.1, 5, 10), seed=seed)
    return [(s.calls, s.good, s.attempts, sum(s.latencies)) for s in run.seconds]


def test_a_seed_replays_exactly() -> None:
    assert fingerprint(7) == fingerprint(7)
    assert fingerprint(7) != fingerprint(8)


@pytest.mark.parametrize("seed", range(3))
def test_retry_storm_the_budget_bounds_what_retries_add(seed: int) -> None:
    everything_fails = failing(1.0, 5, 15)
    on = simulate(SMALL, OFF, everything_fails, seed=seed)
    naive = simulate(SMALL, replace(OFF, retry=NAIVE_RETRIES), everything_fails, seed=seed)
    budget = replace(OFF.retry, budget_floor=0.0)
    strict = simulate(SMALL, replace(OFF, retry=budget), everything_fails, seed=seed)
    assert naive.amplification(6, 14) > 3.5
    assert strict.amplification(6, 14) <= 1.21
    assert on.amplification(6, 14) <= naive.amplification(6, 14)
    assert on.good(16) > 0.999


@pytest.mark.parametrize("seed", range(3))
def test_grey_failure_ejection_frees_callers_of_replicas_that_fail_with_green_health(seed: int) -> None:
    on = replace(ON, retry=replace(ON.retry, max_attempts=1))
    size, sick = Size(clients=20, servers=10, rate=40.0, seconds=20), failing(0.1, 4, 18)
    ejecting = simulate(size, on, sick, seed=seed)
    keeping = simulate(size, replace(on, outlier_detection=None), sick, seed=seed)
    assert keeping.good(12, 18) < 0.92
    assert ejecting.good(12, 18) > 0.99


@pytest.mark.parametrize("policy", ["round_robin", "least_request", "peak_ewma"])
def test_no_policy_sends_more_to_a_replica_because_it_fails_fast(policy: str) -> None:
    settings = replace(OFF, policy=policy, retry=replace(OFF.retry, max_attempts=1), subset=None)
    size = Size(clients=20, servers=10, rate=40.0, seconds=12)
    run = simulate(size, settings, failing(0.1, 2, 12), load=0.6)
    attempts = [s.attempts for s in run.servers]
    assert attempts[0] <= 1.15 * sum(attempts) / len(attempts)


@pytest.mark.parametrize("seed", range(3))
def test_replicas_that_hang_are_ejected_before_callers_have_lost_much(seed: int) -> None:
    size = Size(clients=20, servers=10, rate=40.0, seconds=14)
    on = simulate(size, ON, hanging(0.1, 3, 13), seed=seed)
    off = simulate(size, OFF, hanging(0.1, 3, 13), seed=seed)
    assert off.good(4, 12) < 0.93
    assert on.good(4, 12) > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_slow_replicas_hedging_cuts_the_tail_within_the_budget(seed: int) -> None:
    size = Size(clients=20, servers=10, rate=40.0, seconds=14)
    sick = slow(0.1, 20, 3, 14)
    on, off = simulate(size, HEDGED, sick, seed=seed), simulate(size, OFF, sick, seed=seed)
    assert on.p99(6, 13) < 0.5 * off.p99(6, 13)
    assert on.amplification(6, 13) <= 1.21


@pytest.mark.parametrize("load", [2.0, 3.0])
def test_adaptive_limit_goodput_holds_under_overload(load: float) -> None:
    size = Size(clients=60, servers=10, rate=30.0, seconds=14)
    capacity = size.clients * size.rate * 7 / load
    on = simulate(size, OFF, nothing, load=load, admission=True)
    off = simulate(size, OFF, nothing, load=load)
    assert sum(s.good for s in on.seconds[6:13]) >= 0.9 * capacity
    assert sum(s.good for s in off.seconds[6:13]) < 0.8 * sum(s.good for s in on.seconds[6:13])


def test_adaptive_limit_takes_no_work_that_differs_at_random_for_queueing() -> None:
    size = Size(clients=30, servers=5, rate=30.0, seconds=24)
    run = simulate(size, OFF, nothing, load=0.8, admission=True)
    assert run.good(4) > 0.9


def test_partial_outage_costs_retries_and_nothing_else() -> None:
    run = simulate(SMALL, ON, outage(0.3, 5, 12), load=0.4)
    assert run.good() > 0.999


def test_correlated_restart_is_over_when_the_servers_are_back() -> None:
    run = simulate(SMALL, ON, outage(0.9, 5, 8), load=0.4)
    assert run.good(10) > 0.999
    assert run.amplification(10) < 1.01


@pytest.mark.parametrize("subset", [10, 20])
def test_subsetting_keeps_connections_few_and_load_even(subset: int) -> None:
    size = replace(FULL, seconds=4)
    run = simulate(size, replace(ON, subset=subset), nothing)
    assert {len(c.endpoints) for c in run.clients} == {subset}
    connections = Counter(id(server) for c in run.clients for server in c.endpoints.values())
    assert max(connections.values()) <= 2 * 1000 * subset / 300
    assert run.good() > 0.999


def test_a_thousand_clients_ride_out_a_grey_failure_of_a_tenth_of_three_hundred_servers() -> None:
    run = simulate(replace(FULL, seconds=12), ON, failing(0.1, 3, 12))
    assert sum(s.calls for s in run.seconds) > 20_000
    assert run.good() > 0.999
    assert run.amplification(8) < 1.2  # the retry budget


@pytest.mark.parametrize("seed", range(2))
def test_unequal_servers_are_all_in_time_by_their_load_reports(seed: int) -> None:
    unequal = slow(0.5, 2, 2, 16)
    weighted, even = (
        simulate(CROWD, settings, unequal, seed=seed, load=0.6, seconds=0.1) for settings in (WEIGHTED, OFF)
    )
    assert even.good(9, 13) < 0.8
    assert weighted.good(9, 13) > 0.97


@pytest.mark.parametrize("seed", range(2))
def test_calls_stay_in_their_zone_while_enough_of_it_is_there(seed: int) -> None:
    run = simulate(CROWD, ZONED, zone_away((4, 1), (7, 3), (10, 5), (12, 0)), seed=seed, load=0.15)
    shares = [second.near / second.attempts for second in run.seconds]
    assert set(shares[:4]) == {1.0}
    assert min(shares[5:7]) > 0.99  # four of five: 1.4 × 80 % and more
    assert 0.45 < sum(shares[8:10]) / 2 < 0.67  # two of five: 1.4 × 40 % = 56 %
    assert max(shares[10:12]) < 0.01
    assert min(shares[12:]) > 0.99
    assert run.good() > 0.999


def test_a_restart_opens_few_connections_with_a_subset() -> None:
    def opened(subset: int | None) -> int:
        counts: list[int] = []
        size = Size(clients=100, servers=30, rate=0.1, seconds=8)
        restart = rolling_restart(1, 0.2, lambda at, connections: counts.append(connections))
        simulate(size, replace(OFF, subset=subset), restart)
        return sum(counts)

    assert opened(None) == 100 * 30
    assert opened(5) < 2.2 * 100 * 5  # one that leaves, one that comes


@pytest.mark.parametrize("seed", range(2))
def test_ring_hash_finds_its_keys_again_when_a_server_leaves_and_returns(seed: int) -> None:
    affine, even = (simulate(CROWD, settings, outage(0.1, 5, 8), seed=seed) for settings in (AFFINE, KEYED))
    rates = [[s.hits / s.attempts for s in run.seconds] for run in (affine, even)]
    assert min(rates[0][3:]) > 0.85  # a tenth of the keys moves
    assert min(rates[0][8:]) > 0.95
    assert max(rates[1][3:]) < 0.3


@pytest.mark.parametrize("seed", range(2))
def test_a_service_that_some_cannot_serve_loses_nothing_where_it_is_watched(seed: int) -> None:
    alone = replace(OFF, retry=replace(OFF.retry, max_attempts=1))
    watching, not_watching = (
        simulate(CROWD, alone, not_serving(0.3, 3, 10, watched), seed=seed) for watched in (True, False)
    )
    assert not_watching.good(4, 10) < 0.75
    assert watching.good() > 0.999


@pytest.mark.parametrize("seed", range(2))
def test_critical_calls_go_first_under_overload(seed: int) -> None:
    size = Size(clients=30, servers=5, rate=30.0, seconds=12)

    def critical(known: bool) -> float:
        settings = replace(OFF, priorities=known)
        run = simulate(size, settings, nothing, seed=seed, load=3.0, admission=True)
        return sum(s.critical_good for s in run.seconds[3:]) / sum(s.critical for s in run.seconds[3:])

    assert critical(False) < 0.5
    assert critical(True) > 0.85
