"""Replicas that answer badly while their health says SERVING."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import grpc
import pytest

from grpcmesh.config import BalancerPolicyName, RetryConfig
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.replicas import CONFIG, Cluster, Load, Wire, cluster, eventually, with_balancer

POLICIES: tuple[BalancerPolicyName, ...] = get_args(BalancerPolicyName)


def ejected(ping: Cluster) -> dict[str, Any]:
    """Return the ejected endpoints of the channel's admin state, by address."""
    found: dict[str, Any] = ping.channel.state()["ejected"]
    return found


def in_flight(ping: Cluster, endpoint: str) -> int:
    """Return the number of attempts in flight to an endpoint, which were sent before its ejection."""
    return sum(e["in_flight"] for e in ping.channel.state()["endpoints"] if e["address"] == endpoint)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_replica_that_fails_fast_draws_nothing_once_it_is_ejected(
    tmp_path: Path, policy: BalancerPolicyName
) -> None:
    async with cluster(tmp_path, 3, with_balancer(policy=policy)) as ping:
        sick = ping.servers[0]
        sick.servicer.fail = grpc.StatusCode.UNAVAILABLE
        async with Load(ping.stub) as load:
            await eventually(lambda: ejected(ping) and not in_flight(ping, sick.endpoint))
            before = sick.servicer.calls["Ping"]
            await load.more(300)
            assert sick.servicer.calls["Ping"] == before
        assert ejected(ping)[sick.endpoint]["cause"] == "consecutive_failures"
        assert load.failures == []  # all of them were retried elsewhere
        assert ping.in_flight() == 0


@pytest.mark.parametrize("policy", POLICIES)
async def test_without_ejection_a_replica_that_fails_fast_draws_no_more_than_its_share(
    tmp_path: Path, policy: BalancerPolicyName
) -> None:
    config = replace(CONFIG, retry=RetryConfig(max_attempts=1))
    async with cluster(tmp_path, 3, config) as ping:
        sick, *well = ping.servers
        sick.servicer.fail = grpc.StatusCode.UNAVAILABLE
        for server in well:
            server.servicer.delay = 0.005
        store = ServiceConfigStore(inline=json.dumps({"ping": {"loadBalancingConfig": [{policy: {}}]}}))
        store.load()
        channel = ping.open(service_config=store)
        stub, drawn = PingServiceStub(channel), Counter[str]()
        await channel.start()
        await eventually(lambda: [e["state"] for e in channel.state()["endpoints"]] == ["ready"] * 3)

        async def worker() -> None:
            for _ in range(75):
                call: Any = stub.Ping(PingRequest(), timeout=60)
                await asyncio.gather(call, return_exceptions=True)
                drawn[call.endpoint] += 1

        await asyncio.gather(*(worker() for _ in range(8)))
        assert channel.state()["ejected"] == {}
        # A share of 1/3 drawn at random is beyond this once in a hundred thousand times.
        assert drawn[sick.endpoint] <= 1.25 * 600 / 3
        await channel.close()


def resets(sick: PingServer, wire: Wire) -> None:
    """Make each call reset the connection that it came on."""
    answer = sick.servicer._unary

    async def unary(*arguments: Any) -> Any:
        wire.reset()
        return await answer(*arguments)

    sick.servicer._unary = unary  # type: ignore[method-assign]


def cancels(sick: PingServer, wire: Wire) -> None:
    """Make the server cancel each call, as with RST_STREAM."""
    sick.servicer.fail = grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("policy", ["round_robin", "peak_ewma"])
@pytest.mark.parametrize("becomes_sick", [resets, cancels])
async def test_a_replica_that_resets_connections_or_streams_is_ejected(
    tmp_path: Path, policy: BalancerPolicyName, becomes_sick: Callable[[PingServer, Wire], None]
) -> None:
    # A decay that is over soon: after one slow answer, peak EWMA would leave the replica out for seconds.
    config = replace(with_balancer(policy=policy, ewma_decay=0.05), retry=RetryConfig(max_attempts=1))
    async with cluster(tmp_path, 2, config) as ping:
        sick = await ping.add()
        async with Wire(sick.port) as wire:
            becomes_sick(sick, wire)
            ping.resolver.set(wire.endpoint, *(s.endpoint for s in ping.servers[:2]))
            await ping.ready(3)
            codes: Counter[grpc.StatusCode] = Counter()
            while not ejected(ping):
                call: Any = ping.stub.Ping(PingRequest(), timeout=60)
                codes[await call.code()] += 1
                assert codes.total() < 1000
                # After a reset, the replica can fail no further call until it is connected again.
                await eventually(lambda: ejected(ping) or ping.states()[wire.endpoint] == "ready")
            assert ejected(ping)[wire.endpoint]["cause"] == "consecutive_failures"
            assert codes.total() - codes[grpc.StatusCode.OK] == 5
            before = sick.servicer.calls["Ping"]
            for _ in range(50):
                await ping.stub.Ping(PingRequest(), timeout=60)
            assert sick.servicer.calls["Ping"] == before


async def test_failures_that_are_answers_eject_nobody(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        ping.servers[0].servicer.fail = grpc.StatusCode.NOT_FOUND
        for _ in range(60):
            await asyncio.gather(ping.stub.Ping(PingRequest()), return_exceptions=True)
        assert ejected(ping) == {}
        assert ping.servers[0].servicer.calls["Ping"] == 30


async def test_a_replica_that_hangs_is_ejected_before_most_callers_have_waited(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as ping:
        stuck = ping.servers[0]
        stuck.servicer.delay = 3600

        async def call() -> grpc.StatusCode:
            try:
                await ping.stub.Ping(PingRequest(), timeout=3)
            except grpc.aio.AioRpcError as e:
                return e.code()
            return grpc.StatusCode.OK

        calls = []
        while not ejected(ping):
            calls.append(asyncio.create_task(call()))
            await asyncio.sleep(0.02)  # a rate, not a wait
            assert len(calls) < 150, "it was not ejected before the first deadline"
        assert ejected(ping)[stuck.endpoint]["cause"] == "stalled"
        before = stuck.servicer.calls["Ping"]
        calls += [asyncio.create_task(call()) for _ in range(60)]
        codes = await asyncio.gather(*calls)
        assert stuck.servicer.calls["Ping"] == before
        assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) == before
        assert ping.in_flight() == 0


async def test_deadlines_count_as_failures(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        stuck = ping.servers[0]
        stuck.servicer.delay = 3600
        codes: list[grpc.StatusCode] = []
        while not ejected(ping):  # one call at a time: nothing stalls
            try:
                await ping.stub.Ping(PingRequest(), timeout=0.5)
            except grpc.aio.AioRpcError as e:
                codes.append(e.code())
            assert len(codes) < 50
        assert ejected(ping)[stuck.endpoint]["cause"] == "consecutive_failures"
        assert set(codes) == {grpc.StatusCode.DEADLINE_EXCEEDED}


async def test_the_only_replica_is_never_ejected(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        ping.servers[0].servicer.fail = grpc.StatusCode.UNAVAILABLE
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError):
                await ping.stub.Poke(PingRequest())
        assert ejected(ping) == {}
        ping.servers[0].servicer.fail = None
        assert (await ping.stub.Poke(PingRequest())).replica == "ping-1"


async def test_a_replica_that_is_well_again_returns_after_its_ejection(tmp_path: Path) -> None:
    settings = {"consecutiveFailures": 5, "baseEjectionTime": "0.2s", "childPolicy": [{"round_robin": {}}]}
    config = {"ping": {"loadBalancingConfig": [{"outlier_detection_experimental": settings}]}}
    store = ServiceConfigStore(inline=json.dumps(config))
    store.load()
    async with cluster(tmp_path, 3) as ping:
        sick = ping.servers[0]
        channel = ping.open(service_config=store)
        await channel.start()
        async with Load(PingServiceStub(channel)) as load:
            await load.more(30)
            sick.servicer.fail = grpc.StatusCode.UNAVAILABLE
            await eventually(lambda: sick.endpoint in channel.state()["ejected"])
            sick.servicer.fail = None
            await eventually(lambda: not channel.state()["ejected"])
            before = sick.servicer.calls["Ping"]
            await load.more(300)
            assert sick.servicer.calls["Ping"] > before + 30
        assert load.failures == []
