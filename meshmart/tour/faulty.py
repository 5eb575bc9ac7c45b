"""Faults that a scene injects into replicas, and the callers that meet them."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Sequence

from grpcmesh.fault import Fault
from grpcmesh.fault.fault_pb2 import ActiveFault
from grpcmesh.member import Member
from local.errors import ClusterError, LeaseEndedError
from meshmart.cluster import Replica
from meshmart.faults import HANG, NoFaultsError, clear_leased, has_leased, list_faults, set_fault
from meshmart.leases import LEASE, RENEWAL, Leases
from meshmart.tour.stage import SceneError, Stage


@contextlib.asynccontextmanager
async def faulty(
    stage: Stage, service: str, replicas: Sequence[Replica], fault: Fault
) -> AsyncIterator[None]:
    """Inject a fault into replicas until the end of the block, or until this process has ended.

    What somebody else sets or clears meanwhile stays so.

    Call `until_well` before the scene begins to measure.

    Args:
        stage: The stage.
        service: The service of the replicas.
        replicas: The replicas; all get the fault at once.
        fault: The fault.

    Raises:
        ClusterError: a replica cannot be reached, or takes no faults.
    """
    member = _operator(stage)

    async def one(replica: Replica) -> None:
        await set_fault(member, service, replica, fault, HANG, LEASE)

    async def renew(replica: Replica) -> None:
        if not await has_leased(member, service, replica, fault):
            raise LeaseEndedError("somebody else has cleared or replaced it")
        await one(replica)

    try:
        async with Leases(stage.say) as leases:
            await asyncio.gather(*map(one, replicas))
            for replica in replicas:
                leases.hold(f"the fault of {service}/{replica.id}", functools.partial(renew, replica))
            yield
    finally:
        # After the renewals have ended: one of them would set the fault again.
        await asyncio.gather(*(_clear(stage, member, service, r, fault) for r in replicas))


async def until_well(stage: Stage, service: str, replicas: Sequence[Replica]) -> None:
    """Wait until no replica has a fault whose lease may end: a tour that was killed may have left it.

    A fault that somebody else has set would be measured, too, and lost if it is of the same method.

    Raises:
        ClusterError: a replica cannot be reached.
        SceneError: a replica has a fault that somebody else has set.
    """
    for replica in replicas:
        await _until_well(stage, service, replica)


async def _until_well(stage: Stage, service: str, replica: Replica) -> None:
    name = f"{service}/{replica.id}"

    async def look() -> bool | None:
        faults = await _faults(stage, service, replica)
        if lasting := [f for f in faults if not f.leased]:
            raise SceneError(
                f"{name} has a fault of {lasting[0].fault.method}, set by {lasting[0].set_by}: "
                f"clear it first (meshmart fault clear {service})"
            )
        return None if faults else True

    await stage.until(look, f"{name} has no fault of somebody else", LEASE + RENEWAL, 0.5)


async def _faults(stage: Stage, service: str, replica: Replica) -> list[ActiveFault]:
    try:
        return await list_faults(_operator(stage), service, replica)
    except NoFaultsError:
        return []


async def _clear(stage: Stage, member: Member, service: str, replica: Replica, fault: Fault) -> None:
    try:
        await clear_leased(member, service, replica, fault)
    except ClusterError as e:
        stage.say(f"a fault could not be cleared, and ends with its lease: {e}")


async def hits(stage: Stage, service: str, replica: Replica) -> int:
    """Return how many calls the faults of a replica have affected since they were set."""
    return sum(fault.hits for fault in await list_faults(_operator(stage), service, replica))


@contextlib.asynccontextmanager
async def new_callers(stage: Stage, count: int) -> AsyncIterator[list[Member]]:
    """Yield new members of the mesh, which share nothing: each has its own connections, outlier detection
    and retry budget, like a replica of a service that calls.
    """
    async with contextlib.AsyncExitStack() as stack:
        config = _operator(stage).config
        yield [await stack.enter_async_context(Member(config, sockets=False)) for _ in range(count)]


def _operator(stage: Stage) -> Member:
    if stage.member is None:
        raise SceneError("only a member of the mesh may inject faults")
    return stage.member
