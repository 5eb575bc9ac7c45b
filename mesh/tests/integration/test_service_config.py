"""Settings of a service config at work: hedging, retries, timeouts, limits; and their change."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.client.channel import MeshChannel
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.replicas import Cluster, cluster, eventually

PING = {"service": "mesh.testing.PingService", "method": "Ping"}
POKE = {"service": "mesh.testing.PingService", "method": "Poke"}


class Configured:
    """A cluster and a channel with the service config of a file."""

    def __init__(self, ping: Cluster, file: Path, *configs: Any) -> None:
        self.ping, self.file = ping, file
        self.write(*configs)
        self.store = ServiceConfigStore(file)
        self.store.load()
        self.channel: MeshChannel = ping.open(service_config=self.store)
        self.stub = PingServiceStub(self.channel)

    def write(self, *configs: Any) -> None:
        self.file.write_text(json.dumps({"ping": {"methodConfig": list(configs)}}))

    async def ready(self, count: int) -> None:
        await self.channel.start()
        await eventually(lambda: [e["state"] for e in self.channel.state()["endpoints"]] == ["ready"] * count)

    def calls(self, method: str = "Ping") -> list[int]:
        return [s.servicer.calls[method] for s in self.ping.servers]

    def running(self) -> int:
        return sum(s.servicer.running for s in self.ping.servers)


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path / "certs", 3) as made:
        yield made


async def configured(ping: Cluster, tmp_path: Path, *configs: Any) -> Configured:
    made = Configured(ping, tmp_path / "mesh.json", *configs)
    await made.ready(3)
    return made


def hedged(name: dict[str, str] = PING, **policy: Any) -> dict[str, Any]:
    return {"name": [name], "hedgingPolicy": {"maxAttempts": 3, "hedgingDelay": "0.05s", **policy}}


async def test_a_slow_call_is_answered_by_a_hedge_and_the_loser_is_cancelled(
    ping: Cluster, tmp_path: Path
) -> None:
    made = await configured(ping, tmp_path, hedged())
    slow = ping.servers[0]
    slow.servicer.delay = 3600
    answers = [await made.stub.Ping(PingRequest(), timeout=60) for _ in range(12)]
    assert {a.replica for a in answers} <= {"ping-2", "ping-3"}
    await eventually(lambda: made.running() == 0)
    assert slow.servicer.cancelled == slow.servicer.calls["Ping"] > 0
    assert sum(e["in_flight"] for e in made.channel.state()["endpoints"]) == 0
    await made.channel.close()


async def test_a_method_with_side_effects_is_not_hedged(ping: Cluster, tmp_path: Path) -> None:
    made = await configured(ping, tmp_path, hedged(POKE))
    for server in ping.servers:
        server.servicer.delay = 0.2
    await made.stub.Poke(PingRequest(), timeout=60)
    assert sum(made.calls("Poke")) == 1
    await made.channel.close()


async def test_a_fatal_code_ends_a_hedged_call_and_another_brings_the_next_attempt_forward(
    ping: Cluster, tmp_path: Path
) -> None:
    made = await configured(ping, tmp_path, hedged(hedgingDelay="3600s", nonFatalStatusCodes=["UNAVAILABLE"]))
    for server in ping.servers:
        server.servicer.fail = grpc.StatusCode.UNAVAILABLE
    call = made.stub.Ping(PingRequest(), timeout=60)
    assert (await call.code(), sum(made.calls())) == (grpc.StatusCode.UNAVAILABLE, 3)
    for server in ping.servers:
        server.servicer.fail = grpc.StatusCode.NOT_FOUND
    call = made.stub.Ping(PingRequest(), timeout=60)
    assert (await call.code(), sum(made.calls())) == (grpc.StatusCode.NOT_FOUND, 4)
    await made.channel.close()


@pytest.mark.parametrize(("pushback", "attempts"), [("-1", 1), ("20", 3)])
async def test_a_hedged_call_heeds_pushback(
    ping: Cluster, tmp_path: Path, pushback: str, attempts: int
) -> None:
    made = await configured(ping, tmp_path, hedged(hedgingDelay="3600s", nonFatalStatusCodes=["ABORTED"]))
    request = PingRequest(fail_code="ABORTED", pushback=pushback)
    call = made.stub.Ping(request, timeout=60)
    assert (await call.code(), sum(made.calls())) == (grpc.StatusCode.ABORTED, attempts)
    await made.channel.close()


async def test_at_most_one_answer_is_delivered_when_all_attempts_answer_at_once(
    ping: Cluster, tmp_path: Path
) -> None:
    made = await configured(ping, tmp_path, hedged(hedgingDelay="0s"))
    calls = [made.stub.Ping(PingRequest(text=str(i)), timeout=60) for i in range(40)]
    answers = [await call for call in calls]
    assert [a.text for a in answers] == [str(i) for i in range(40)]
    await eventually(lambda: made.running() == 0)
    assert sum(e["in_flight"] for e in made.channel.state()["endpoints"]) == 0
    await made.channel.close()


async def test_an_attempt_that_takes_too_long_is_followed_by_another(ping: Cluster, tmp_path: Path) -> None:
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.001s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 2,
        "perAttemptRecvTimeout": "0.2s",
    }
    made = await configured(ping, tmp_path, {"name": [PING, POKE], "retryPolicy": policy})
    ping.servers[0].servicer.delay = 3600
    answers = [await made.stub.Ping(PingRequest(), timeout=60) for _ in range(6)]
    assert {a.replica for a in answers} == {"ping-2", "ping-3"}
    # Named in full with a retry policy: safe to repeat, whatever the proto says.
    answers = [await made.stub.Poke(PingRequest(), timeout=60) for _ in range(6)]
    assert {a.replica for a in answers} == {"ping-2", "ping-3"}
    await made.channel.close()


async def test_timeout_and_sizes_of_a_method(ping: Cluster, tmp_path: Path) -> None:
    made = await configured(
        ping,
        tmp_path,
        {"name": [PING], "timeout": "0.1s", "maxRequestMessageBytes": 100},
        {"name": [POKE], "maxResponseMessageBytes": 100},
    )
    for server in ping.servers:
        server.servicer.delay = 3600
    call = made.stub.Ping(PingRequest(), timeout=60)
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    large = made.stub.Ping(PingRequest(text="x" * 200))
    assert (await large.code(), await large.details()) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Sent message larger than max (203 vs. 100)",
    )
    for server in ping.servers:
        server.servicer.delay = 0.0
    large = made.stub.Poke(PingRequest(text="x" * 200))
    assert await large.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert sum(e["in_flight"] for e in made.channel.state()["endpoints"]) == 0
    await made.channel.close()


async def test_settings_change_while_a_stub_is_in_use(ping: Cluster, tmp_path: Path) -> None:
    made = await configured(ping, tmp_path, {"name": [PING], "timeout": "60s"})
    for server in ping.servers:
        server.servicer.delay = 3600
    old = made.stub.Ping(PingRequest())
    made.write({"name": [PING], "timeout": "0.1s"})
    assert made.store.poll()
    assert await made.stub.Ping(PingRequest()).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not old.done()
    assert made.channel.state()["settings"] == {"methodConfig mesh.testing.PingService/Ping": str(made.file)}
    old.cancel()
    await asyncio.wait([asyncio.ensure_future(old)])
    await made.channel.close()


async def test_ring_hash_sends_a_key_to_one_replica_and_the_policy_changes_at_run_time(
    ping: Cluster, tmp_path: Path
) -> None:
    made = await configured(ping, tmp_path)

    def balance(policy: dict[str, Any]) -> None:
        made.file.write_text(json.dumps({"ping": {"loadBalancingConfig": [policy]}}))
        assert made.store.poll()

    async def replicas(user: str) -> set[str]:
        metadata = (("user", user),)
        return {(await made.stub.Ping(PingRequest(), metadata=metadata)).replica for _ in range(9)}

    assert await replicas("7") == {"ping-1", "ping-2", "ping-3"}
    balance({"ring_hash": {"requestHashHeader": "user"}})
    assert made.channel.state()["policy"] == "ring_hash"
    owners = [await replicas(str(user)) for user in range(20)]
    assert {len(owner) for owner in owners} == {1}
    assert len(set.union(*owners)) > 1
    balance({"least_request": {"choiceCount": 3}})
    assert await replicas("7") != set()
    assert made.channel.state()["policy"] == "least_request"
    await made.channel.close()
