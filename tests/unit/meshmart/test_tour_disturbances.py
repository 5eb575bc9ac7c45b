"""What scenes disturb: they leave nothing of it, and touch nothing that somebody else has disturbed."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grpcmesh.fault import Fault
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.wire import fault_message
from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError
from meshmart import faults
from meshmart.embedded import EmbeddedCluster
from meshmart.leases import RENEWAL
from meshmart.tour import faulty, slow_dependency
from meshmart.tour.stage import SceneError, Stage


class Cluster:
    """A cluster of three replicas of notification, of which the first has no process after it was paused."""

    def __init__(self) -> None:
        self.paused: set[int] = set()
        self.scaled = 0

    async def endpoints(self, service: str) -> list[Any]:
        return [
            SimpleNamespace(id=n, name=f"{service}-{n}", address=f"127.0.5.{n}:1", ready=True)
            for n in (1, 2, 3)
        ]

    async def scale_for_now(self, service: str, replicas: int) -> None:
        self.scaled = replicas

    async def pause(self, service: str, replica: int) -> None:
        self.paused.add(replica)

    async def resume(self, service: str, replica: int) -> None:
        self.paused.discard(replica)
        if replica == 1:
            raise ClusterError("notification-1 has no process just now: it waits for its restart")


def stage_of(cluster: Any, said: list[str], **more: Any) -> Stage:
    nothing: Any = None
    return Stage(cluster, nothing, nothing, said.append, nothing, **more)


async def test_a_replica_that_cannot_be_resumed_leaves_no_other_hanging() -> None:
    cluster, said = Cluster(), list[str]()
    async with slow_dependency._hanging(stage_of(cluster, said), "notification"):
        assert cluster.paused == {1, 2, 3}
    assert cluster.paused == set()
    assert "notification/1 could not be resumed" in said[-1]


class Faulty:
    """Replicas with these faults, and what was done to them.

    Args:
        monkeypatch: Replaces the functions that reach replicas.
        leased: Whether the fault that replica 2 has already has a lease; it ends when it was listed twice.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, leased: bool) -> None:
        self._fault = pb.ActiveFault(fault=pb.Fault(method="*"), set_by="spiffe://else", leased=leased)
        self.listed = 0
        self.did: list[str] = []
        #: The fault of every method of each replica that was set.
        self.set: dict[int, pb.ActiveFault] = {}
        for module, name in (
            (faulty, "list_faults"),
            (faulty, "set_fault"),
            (faults, "list_faults"),
            (faults, "clear_faults"),
        ):
            monkeypatch.setattr(module, name, getattr(self, name))

    async def list_faults(self, member: Any, service: str, replica: Any) -> list[pb.ActiveFault]:
        if replica.id in self.set:
            return [self.set[replica.id]]
        if replica.id != 2:
            return []
        self.listed += 1
        return [] if self._fault.leased and self.listed > 2 else [self._fault]

    async def set_fault(
        self, member: Any, service: str, replica: Any, fault: Fault, lasts: float, lease: float | None = None
    ) -> None:
        self.did.append(f"set {replica.id}")
        self.set[replica.id] = pb.ActiveFault(fault=fault_message(fault), leased=lease is not None)

    async def clear_faults(self, member: Any, service: str, replica: Any, method: str) -> None:
        self.did.append(f"clear {replica.id}")
        del self.set[replica.id]

    async def play(self) -> None:
        member: Any = object()
        stage = stage_of(Cluster(), [], member=member)
        replicas = await stage.replicas("notification")
        await faulty.until_well(stage, "notification", replicas)
        listed = self.listed
        async with faulty.faulty(stage, "notification", replicas, Fault(abort="UNAVAILABLE")):
            assert self.listed == listed  # it is not waited for while a scene measures


def test_a_fault_that_somebody_else_has_set_is_kept_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    replicas = Faulty(monkeypatch, leased=False)
    told = r"notification/2 has a fault of \*, set by spiffe://else: clear it first"
    with pytest.raises(SceneError, match=told):
        run_in_virtual_time(replicas.play())
    assert replicas.did == []


def test_a_hang_keeps_a_fault_that_somebody_else_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Kubernetes a replica hangs by a fault of every method, which replaces the one that was there."""
    Faulty(monkeypatch, leased=False)
    cluster, member = Cluster(), object()

    async def play() -> None:
        await slow_dependency.play(stage_of(cluster, [], member=member))

    with pytest.raises(SceneError, match="notification/2 has a fault of"):
        run_in_virtual_time(play())
    assert cluster.paused == set()


def test_a_fault_that_a_killed_tour_left_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    replicas = Faulty(monkeypatch, leased=True)
    run_in_virtual_time(replicas.play())
    assert replicas.listed == 3
    assert replicas.did == ["set 1", "set 2", "set 3", "clear 1", "clear 2", "clear 3"]


def test_what_somebody_sets_or_clears_during_a_scene_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    replicas, member, said = Faulty(monkeypatch, leased=True), object(), list[str]()
    own = Fault(abort="INTERNAL")

    async def play() -> None:
        stage = stage_of(Cluster(), said, member=member)
        present = await stage.replicas("notification")
        async with faulty.faulty(stage, "notification", present, Fault(abort="UNAVAILABLE")):
            await replicas.set_fault(member, "notification", present[0], own, 3600)
            await replicas.clear_faults(member, "notification", present[1], "*")
            await asyncio.sleep(3 * RENEWAL)

    run_in_virtual_time(play())
    assert {n: fault.fault for n, fault in replicas.set.items()} == {1: fault_message(own)}
    assert sum("somebody else has cleared or replaced it" in line for line in said) == 2


async def test_one_command_plays_at_a_time(tmp_path: Path) -> None:
    first, second = EmbeddedCluster(tmp_path), EmbeddedCluster(tmp_path)
    async with first.alone():
        with pytest.raises(ClusterError, match="another command plays"):
            async with second.alone():
                pytest.fail("it plays beside the first")
    async with second.alone():
        pass


async def test_replicas_that_a_killed_tour_has_left_are_kept_for_this_one() -> None:
    cluster = Cluster()
    assert len(await stage_of(cluster, []).with_replicas("notification", 3)) == 3
    assert cluster.scaled == 3
