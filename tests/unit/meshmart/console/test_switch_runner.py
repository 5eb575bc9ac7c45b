"""The runner of actions on a cluster that is only in memory."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from grpcmesh.fault import Fault
from grpcmesh.fault.fault_pb2 import ActiveFault
from grpcmesh.fault.wire import fault_message
from local.errors import ClusterError, LeaseEndedError
from meshmart.cluster import Replica
from meshmart.console.action_log import ActionLog, Outcome
from meshmart.console.model import Event
from meshmart.console.records import Records
from meshmart.console.refusal import RefusedError
from meshmart.console.switches.assembly import switches
from meshmart.console.switches.load import LoadProcess
from meshmart.console.switches.runner import Runner
from meshmart.leases import Leases


@dataclass
class MemoryCluster:
    """Two services with two replicas. What is done to it is in `did`."""

    did: list[str] = field(default_factory=list)
    paused: set[tuple[str, int]] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: {"gateway": 2, "worker": 2})
    before: dict[str, int] = field(default_factory=dict)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: str = ""
    leases: Leases = field(default_factory=lambda: Leases(lambda _: None, every=0.01))

    def __post_init__(self) -> None:
        self.gate.set()

    async def _do(self, what: str) -> None:
        self.did.append(what)
        await self.gate.wait()
        if self.error:
            raise ClusterError(self.error)

    async def _renew(self, holds: bool) -> None:
        if not holds:
            raise LeaseEndedError("somebody else has ended it")

    async def kill(self, service: str, replica: int) -> str:
        await self._do(f"kill {service}/{replica}")
        return "process 4242"

    async def restart(self, service: str) -> None:
        await self._do(f"restart {service}")

    async def rotate(self) -> Mapping[str, str]:
        await self._do("rotate")
        return {"gateway": "cafe"}

    async def pause(self, service: str, replica: int) -> None:
        await self._do(f"pause {service}/{replica}")
        self.paused.add((service, replica))
        self.leases.hold(f"{service}/{replica}", lambda: self._renew((service, replica) in self.paused))

    async def resume(self, service: str, replica: int) -> None:
        self.paused.discard((service, replica))

    async def scale_for_now(self, service: str, replicas: int) -> None:
        self.before.setdefault(service, self.counts[service])
        self.counts[service] = replicas
        await self._do(f"scale {service}={replicas}")
        self.leases.hold(service, lambda: self._renew(self.counts[service] == replicas))

    async def restore(self, service: str) -> None:
        if service in self.before:
            self.counts[service] = self.before.pop(service)

    async def endpoints(self, service: str) -> list[Replica]:
        count = range(1, self.counts[service] + 1)
        return [Replica(n, f"{service}-{n}", "127.0.0.1", 1, "", "1", True, 0, "") for n in count]

    async def status(self) -> dict[str, Any]:
        return {"services": dict.fromkeys(self.counts)}


@dataclass
class World:
    cluster: MemoryCluster
    runner: Runner
    log: ActionLog
    events: list[Event]
    clock: list[float]

    async def done(self, name: str, **given: Any) -> dict[str, Any]:
        """Start an action and return its outcome."""
        return await self.outcome(await self.runner.start("alice", name, given))

    async def outcome(self, run: Any) -> dict[str, Any]:
        async with asyncio.timeout(60):
            await asyncio.wait({run.task})
        return next(o for o in self.runner.told()["outcomes"] if o["id"] == run.id)

    async def entries(self) -> list[tuple[str, str, str]]:
        return [(e.who, e.action, e.outcome) for e in reversed(await self.log.read(100))]


@asynccontextmanager
async def world(directory: Path) -> AsyncIterator[World]:
    cluster, events, log, clock = MemoryCluster(), list[Event](), ActionLog(directory / "console"), [1000.0]
    records = Records(log, events.append, lambda: 5.0)

    async def member() -> Any:
        raise ClusterError("the console cannot join the mesh")

    made = switches(cluster, member, records, lambda: cluster.counts, directory, lambda: clock[0])  # type: ignore[arg-type]
    async with cluster.leases, made as runner:
        yield World(cluster, runner, log, events, clock)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_an_action_is_done_told_and_logged_with_its_author(here: World) -> None:
    outcome = await here.done("kill", service="worker", replica=2)
    assert here.cluster.did == ["kill worker/2"]
    assert outcome["words"] == "worker/2 was killed (process 4242)"
    assert outcome["failed"] is False
    assert [e.text for e in here.events] == ["alice kills worker/2", outcome["words"]]
    assert await here.entries() == [("alice", "kill", "started"), ("alice", "kill", "done")]
    entry = (await here.log.read(1))[0]
    assert entry.arguments == {"service": "worker", "replica": 2}


async def test_the_log_has_the_action_before_it_is_done(here: World) -> None:
    here.cluster.gate.clear()
    run = await here.runner.start("alice", "rotate", {})
    assert [e.outcome for e in await here.log.read(10)] == [Outcome.STARTED]
    here.cluster.gate.set()
    assert (await here.outcome(run))["words"] == "renewed 1 certificate"


async def test_an_error_of_the_cluster_is_told_in_words(here: World) -> None:
    here.cluster.error = "worker/1 has no process now"
    outcome = await here.done("kill", service="worker", replica=1)
    assert outcome["failed"] is True
    assert outcome["words"] == "alice kills worker/1: worker/1 has no process now"
    assert (await here.entries())[-1] == ("alice", "kill", "failed")


async def test_one_service_has_one_action_at_a_time(here: World) -> None:
    here.cluster.gate.clear()
    run = await here.runner.start("alice", "restart", {"service": "worker"})
    with pytest.raises(RefusedError, match="alice restarts worker: wait until that is done") as refused:
        await here.runner.start("carol", "kill", {"service": "worker", "replica": 1})
    assert refused.value.status == 409
    other = await here.runner.start("carol", "restart", {"service": "gateway"})
    here.cluster.gate.set()
    await here.outcome(run)
    await here.outcome(other)
    await here.done("kill", service="worker", replica=1)


async def test_two_requests_at_the_same_moment_start_one_action(here: World) -> None:
    here.cluster.gate.clear()
    both = [here.runner.start("alice", "restart", {"service": "worker"}) for _ in range(2)]
    results = await asyncio.gather(*both, return_exceptions=True)
    assert sum(isinstance(r, RefusedError) for r in results) == 1
    here.cluster.gate.set()


@pytest.mark.parametrize(
    ("name", "given", "status"),
    [
        ("kill", {"service": "nothing", "replica": 1}, 400),
        ("kill", {"service": "worker"}, 400),
        ("explode", {}, 404),
    ],
)
async def test_what_is_not_valid_does_nothing(
    here: World, name: str, given: dict[str, Any], status: int
) -> None:
    with pytest.raises(RefusedError) as refused:
        await here.runner.start("alice", name, given)
    assert refused.value.status == status
    assert here.cluster.did == []
    assert await here.entries() == []


async def test_nothing_is_done_that_cannot_be_logged_but_everything_can_be_put_back(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.done("pause", service="worker", replica=1, seconds=60)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("meshmart.console.action_log.os.fsync", full)
    with pytest.raises(RefusedError, match="nothing was done") as refused:
        await here.runner.start("alice", "kill", {"service": "worker", "replica": 2})
    assert refused.value.status == 503
    assert here.cluster.did == ["pause worker/1"]
    assert (await here.outcome(await here.runner.put_back("alice")))["failed"] is False
    assert here.cluster.paused == set()


@pytest.mark.parametrize(
    ("name", "given", "undisturbed"),
    [
        ("pause", {"service": "worker", "replica": 1}, lambda c: not c.paused),
        ("scale", {"service": "worker", "replicas": 5}, lambda c: c.counts["worker"] == 2),
    ],
)
async def test_a_disturbance_is_listed_until_it_is_put_back(
    here: World, name: str, given: dict[str, Any], undisturbed: Callable[[MemoryCluster], bool]
) -> None:
    await here.done(name, **given, seconds=120)
    assert not undisturbed(here.cluster)
    (listed,) = here.runner.told()["disturbed"]
    assert (listed["who"], listed["service"], listed["left"]) == ("alice", "worker", 120)
    here.clock[0] += 50
    assert here.runner.told()["disturbed"][0]["left"] == 70
    outcome = await here.outcome(await here.runner.undo("carol", listed["id"]))
    assert outcome["words"] == f"put back: {listed['words']}"
    assert undisturbed(here.cluster)
    assert here.runner.told()["disturbed"] == []
    with pytest.raises(RefusedError, match="has already ended"):
        await here.runner.undo("carol", listed["id"])


async def test_a_kill_ends_what_disturbed_the_replica(here: World) -> None:
    await here.done("pause", service="worker", replica=1)
    await here.done("kill", service="worker", replica=1)
    assert here.runner.told()["disturbed"] == []
    assert here.cluster.paused == set()


async def test_what_somebody_else_has_ended_is_listed_no_more(here: World) -> None:
    await here.done("pause", service="worker", replica=1)
    await here.done("scale", service="gateway", replicas=3)
    here.cluster.paused.clear()
    here.cluster.counts["gateway"] = 4
    async with asyncio.timeout(60):
        while here.runner.told()["disturbed"]:  # noqa: ASYNC110 - nobody tells the test
            await asyncio.sleep(0.01)
    told = [e.text for e in here.events]
    assert "worker/1 hangs: somebody else has ended that" in told
    assert "gateway has 3 replicas for now: somebody else has ended that" in told
    assert here.cluster.counts["gateway"] == 4


async def test_everything_is_put_back_also_what_is_just_being_done(here: World) -> None:
    await here.done("pause", service="gateway", replica=1)
    here.cluster.gate.clear()
    scaling = await here.runner.start("alice", "scale", {"service": "worker", "replicas": 9})
    outcome = await here.outcome(await here.runner.put_back("alice"))
    assert outcome["failed"] is False
    assert (await here.outcome(scaling))["words"].endswith("it was interrupted")
    assert here.cluster.counts == {"gateway": 2, "worker": 2}
    assert here.cluster.paused == set()
    assert here.runner.told()["disturbed"] == []
    again = await here.outcome(await here.runner.put_back("alice"))
    assert again["failed"] is False


async def test_a_scale_that_fails_is_put_back_at_once(here: World) -> None:
    here.cluster.error = "no address is free"
    outcome = await here.done("scale", service="worker", replicas=9)
    assert outcome["failed"] is True
    assert here.cluster.counts["worker"] == 2
    assert here.runner.told()["disturbed"] == []


async def test_a_load_that_another_ended_is_disturbed_no_more_even_if_the_other_fails(here: World) -> None:
    program = (
        "import sys; print('{\"calls\": 1}' if 'view' in sys.argv else '{\"error\": \"no\"}', flush=True)"
    )
    load = LoadProcess([sys.executable, "-c", f"{program}; sys.stdin.read()"])
    here.runner.mesh._load = load
    async with load:
        assert not (await here.done("load", scenario="view"))["failed"]
        assert [d["words"] for d in here.runner.told()["disturbed"]] == ["load: 10 times a second view"]
        assert (await here.done("load", scenario="mix"))["failed"]
        assert here.runner.told()["disturbed"] == []


async def test_a_fault_needs_a_membership_and_says_so(here: World) -> None:
    outcome = await here.done("crash", service="worker", replica=1)
    assert outcome["words"].endswith("the console cannot join the mesh")


async def test_a_fault_in_a_service_without_replicas_is_said_to_have_failed(here: World) -> None:
    async def member() -> Any:
        return object()

    here.runner.mesh.member = member
    here.cluster.counts["product"] = 0
    outcome = await here.done("fault", service="product")
    assert outcome["failed"]
    assert outcome["words"].endswith("product has no replicas")


async def test_a_fault_that_somebody_else_cleared_is_not_set_again(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[ActiveFault] = []

    async def member() -> Any:
        return object()

    async def set_fault(_: Any, service: str, replica: Replica, fault: Fault, *times: float) -> None:
        there[:] = [ActiveFault(fault=fault_message(fault), leased=True)]

    async def list_faults(_: Any, service: str, replica: Replica) -> list[ActiveFault]:
        return there

    monkeypatch.setattr("meshmart.faults.set_fault", set_fault)
    monkeypatch.setattr("meshmart.faults.list_faults", list_faults)
    here.runner.mesh.member = member
    here.cluster.counts["product"] = 2
    assert not (await here.done("fault", service="product", replica=2))["failed"]
    (renew,) = here.runner.mesh.leases._held.values()
    await renew()
    assert len(there) == len(here.runner.told()["disturbed"]) == 1
    there.clear()  # as `meshmart fault clear` does
    await renew()
    assert there == here.runner.told()["disturbed"] == []
    assert here.events[-1].text == "the fault of product-2 has ended: cleared, or not renewed in time"
    assert not here.runner.mesh.leases._held


async def test_a_console_that_ends_notes_what_it_interrupted(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        made.cluster.gate.clear()
        await made.runner.start("alice", "restart", {"service": "worker"})
    assert await made.entries() == [("alice", "restart", "started"), ("alice", "restart", "failed")]
    assert "interrupted" in (await made.log.read(1))[0].words
