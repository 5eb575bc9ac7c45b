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
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
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


async def test_a_pushback_past_the_deadline_ends_a_hedged_call_with_its_own_failure(
    ping: Cluster, tmp_path: Path
) -> None:
    made = await configured(ping, tmp_path, hedged(nonFatalStatusCodes=["UNAVAILABLE"]))
    failing = PingRequest(fail_code="UNAVAILABLE", pushback="3600000")
    with pytest.raises(grpc.aio.AioRpcError, match="was told to fail"):
        await made.stub.Ping(failing, timeout=30)
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


COUNT = {"service": "mesh.testing.PingService", "method": "Count"}


async def numbers(call: Any) -> list[tuple[str, int]]:
    return [(answer.replica, answer.number) async for answer in call]


async def no_call_is_left(made: Configured) -> None:
    await eventually(lambda: made.running() == 0)
    assert sum(e["in_flight"] for e in made.channel.state()["endpoints"]) == 0


async def test_a_stream_that_does_not_begin_is_hedged_and_the_loser_is_cancelled(
    ping: Cluster, tmp_path: Path
) -> None:
    made = await configured(ping, tmp_path, hedged(COUNT))
    slow = ping.servers[0]
    slow.servicer.delay = 3600
    for _ in range(12):
        told = await numbers(made.stub.Count(PingRequest(count=3), timeout=60))
        replicas = {replica for replica, _ in told}
        assert [number for _, number in told] == [1, 2, 3]  # of one attempt, from its beginning
        assert len(replicas) == 1
        assert replicas <= {"ping-2", "ping-3"}
    await no_call_is_left(made)
    assert slow.servicer.cancelled == slow.servicer.calls["Count"] > 0
    await made.channel.close()


async def test_of_streams_that_begin_at_once_the_caller_sees_one(ping: Cluster, tmp_path: Path) -> None:
    made = await configured(ping, tmp_path, hedged(COUNT, hedgingDelay="0s"))
    calls = [made.stub.Count(PingRequest(text=str(i), count=5), timeout=60) for i in range(20)]
    for call in calls:
        told = await numbers(call)
        assert [number for _, number in told] == [1, 2, 3, 4, 5]
        assert len({replica for replica, _ in told}) == 1
        assert await call.code() is grpc.StatusCode.OK
    await no_call_is_left(made)
    await made.channel.close()


async def test_a_stream_that_fails_before_it_begins_is_hedged_at_once_and_later_it_ends_the_call(
    ping: Cluster, tmp_path: Path
) -> None:
    policy = hedged(COUNT, hedgingDelay="3600s", nonFatalStatusCodes=["UNAVAILABLE"])
    made = await configured(ping, tmp_path, policy)
    ping.servers[0].servicer.fail = grpc.StatusCode.UNAVAILABLE
    for _ in range(6):
        assert len(await numbers(made.stub.Count(PingRequest(count=2), timeout=60))) == 2
    assert ping.servers[0].servicer.calls["Count"] > 0
    ping.servers[0].servicer.fail = None
    call = made.stub.Count(PingRequest(count=5, fail_code="UNAVAILABLE", fail_after=2), timeout=60)
    before = sum(made.calls("Count"))
    assert [(await call.read()).number, (await call.read()).number] == [1, 2]
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()
    assert sum(made.calls("Count")) - before <= 1
    await no_call_is_left(made)
    await made.channel.close()


async def test_headers_alone_win_and_a_stream_may_be_empty(ping: Cluster, tmp_path: Path) -> None:
    made = await configured(ping, tmp_path, hedged(COUNT, hedgingDelay="2s"))
    go_on = asyncio.Event()

    async def begin_early(request: PingRequest, context: Any) -> None:
        if request.text != "empty":
            await context.send_initial_metadata((("begun", "yes"),))
            await go_on.wait()
            await context.write(PingResponse(replica="early", number=1))

    for server in ping.servers:
        await server.stop()
        server.servicer.Count = begin_early  # type: ignore[assignment]
        await server.start()
    await made.ready(3)
    call = made.stub.Count(PingRequest(), timeout=60)
    assert dict(await call.initial_metadata())["begun"] == "yes"
    unread = made.stub.Count(PingRequest(), timeout=60)
    reading = asyncio.ensure_future(numbers(unread))
    await eventually(lambda: unread._flight.machine.winner is not None)
    await asyncio.sleep(2.5)  # longer than the delay of a hedge
    go_on.set()
    assert await reading == await numbers(call) == [("early", 1)]
    assert call.attempts == unread.attempts == 1
    assert await numbers(made.stub.Count(PingRequest(text="empty"), timeout=60)) == []
    await made.channel.close()


async def test_a_stream_that_is_cancelled_or_late_leaves_no_attempt_behind(
    ping: Cluster, tmp_path: Path
) -> None:
    made = await configured(ping, tmp_path, hedged(COUNT, hedgingDelay="0s"))
    for server in ping.servers:
        server.servicer.delay = 3600
    call = made.stub.Count(PingRequest(count=1), timeout=60)
    await eventually(lambda: sum(made.calls("Count")) == 3)
    call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED
    await no_call_is_left(made)
    late = made.stub.Count(PingRequest(count=1), timeout=0.2)
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await numbers(late)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await no_call_is_left(made)
    await made.channel.close()


async def test_an_attempt_that_takes_too_long_is_followed_by_another(ping: Cluster, tmp_path: Path) -> None:
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.001s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 2,
        "perAttemptRecvTimeout": "0.5s",
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
