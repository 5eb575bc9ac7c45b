"""A replica whose event loop stands still, between real processes: what it costs, and who notices first."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from grpcmesh.client.channel import MeshChannel
from grpcmesh.resolver import StaticResolver
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.ping_processes import PATIENCE, Processes, Replica, processes
from tests.integration.replicas import eventually

#: Seconds for which the loop is blocked, of the deadline of a call, and between two calls.
BLOCK, DEADLINE, PAUSE = 8.0, 1.0, 0.05
#: The chart's readiness probe: its period and timeout (s), and the failures after which it acts.
PROBE_EACH, PROBE_TIMEOUT, PROBE_FAILURES = 2.0, 3.0, 2


class Caller:
    """Calls at a steady rate over one channel."""

    def __init__(self, channel: MeshChannel, sick: Replica) -> None:
        self.channel, self._sick = channel, sick
        #: Number of calls whose last attempt went to the sick replica, by status code.
        self.codes: Counter[str] = Counter()
        self.ejected: dict[str, Any] = {}

    async def run(self, over: asyncio.Event, noticed: list[str]) -> None:
        stub = PingServiceStub(self.channel)
        async with asyncio.TaskGroup() as calls:
            while not over.is_set():
                calls.create_task(self._call(stub))
                await asyncio.sleep(PAUSE)  # a rate, not a wait
                found = self.channel.state()["ejected"].get(self._sick.address)
                if found and not self.ejected:
                    self.ejected = found
                    noticed.append("caller")

    async def _call(self, stub: PingServiceStub) -> None:
        call: Any = stub.Ping(PingRequest(), timeout=DEADLINE)
        code = await call.code()
        if call.endpoint == self._sick.address:
            self.codes[code.name] += 1

    @property
    def lost(self) -> int:
        return self.codes.total() - self.codes["OK"]


async def probe(replica: Replica, noticed: list[str]) -> None:
    """Ask for the health as a kubelet does, until the probe would act."""
    failures = 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{replica.health_port}") as channel:
        check: Any = channel.unary_unary(
            "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
        )
        while failures < PROBE_FAILURES:
            try:
                answer = await check(b"", timeout=PROBE_TIMEOUT)
                failures = 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else failures + 1
            except grpc.aio.AioRpcError:
                failures += 1
            await asyncio.sleep(PROBE_EACH)
    noticed.append("probe")


async def block(made: Processes, seconds: float) -> None:
    """Stop the loop of the first replica, and wait until it has gone on."""
    resolver = StaticResolver([made.replicas[0].address])
    async with MeshChannel("ping", made.config, identity=made.identity, resolver=resolver) as channel:
        stub = PingServiceStub(channel)
        await stub.Poke(PingRequest(delay=seconds), timeout=PATIENCE)
        await asyncio.sleep(0.5)
        await stub.Poke(PingRequest(), timeout=PATIENCE)


async def test_a_replica_whose_event_loop_is_blocked_is_ejected_before_its_readiness_probe_acts(
    tmp_path: Path,
) -> None:
    """On a8def03, with round robin, it failed 132 of 696 calls with a deadline of one second."""
    store = ServiceConfigStore(inline=json.dumps({"ping": {"loadBalancingConfig": [{"round_robin": {}}]}}))
    store.load()
    async with processes(tmp_path, 3, "blocking") as made, made.open(service_config=store) as without:
        sick, noticed, over = made.replicas[0], list[str](), asyncio.Event()
        on, off = Caller(made.channel, sick), Caller(without, sick)
        await without.start()
        await eventually(
            lambda: [e["state"] for e in without.state()["endpoints"]] == ["ready"] * 3, PATIENCE
        )
        async with asyncio.TaskGroup() as tasks:
            kubelet = tasks.create_task(probe(sick, noticed))
            for caller in (on, off):
                tasks.create_task(caller.run(over, noticed))
            await block(made, BLOCK)
            over.set()
            kubelet.cancel()
        print(
            f"lost: {on.lost} of {on.codes.total()} with ejection, {off.lost} of {off.codes.total()} without"
        )
        assert noticed[0] == "caller"
        assert on.ejected["cause"] in {"stalled", "consecutive_failures"}
        assert without.state()["ejected"] == {}
        assert on.lost < off.lost / 2
        assert set(off.codes) <= {"OK", "DEADLINE_EXCEEDED"}
