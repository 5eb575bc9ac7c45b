"""Breaks single replicas through their own `mesh.fault.v1.FaultService`, and mends them: on any cluster.

Every function takes the operator's membership (`meshmart.operator.join`), a service and one of its replicas
(`Cluster.endpoints`), and raises ClusterError where the replica cannot be reached or refuses.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import grpc
from google.protobuf.duration_pb2 import Duration

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import HealthConfig, RetryConfig
from grpcmesh.fault import Fault
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.fault_pb2_grpc import FaultServiceStub
from grpcmesh.fault.rules import EVERY_METHOD
from grpcmesh.member import Member
from grpcmesh.resolver import Address, StaticResolver
from local.errors import ClusterError
from meshmart.cluster import Replica

_TIMEOUT = 10.0
#: Seconds for which a hang lasts at most.
HANG = 3600.0


async def set_fault(
    member: Member,
    service: str,
    replica: Replica,
    fault: Fault,
    lasts: float | None = None,
    lease: float | None = None,
) -> None:
    """Sets a fault, in the place of the one that its method had.

    Args:
        lasts: Seconds after which it ends by itself; None: when it is cleared, or its process ends.
        lease: Seconds after which it ends unless it is set again; None: it has no lease.
    """
    asked = pb.Fault(method=fault.method, share=fault.share, delay=duration(fault.delay), abort=fault.abort)
    request = pb.SetFaultRequest(
        fault=asked,
        lasts=None if lasts is None else duration(lasts),
        lease=None if lease is None else duration(lease),
    )
    async with _connected(member, service, replica) as stub:
        await stub.SetFault(request, timeout=_TIMEOUT)


async def list_faults(member: Member, service: str, replica: Replica) -> list[pb.ActiveFault]:
    """Those that are set."""
    async with _connected(member, service, replica) as stub:
        return list((await stub.ListFaults(pb.ListFaultsRequest(), timeout=_TIMEOUT)).faults)


async def clear_faults(member: Member, service: str, replica: Replica, method: str = "") -> int:
    """Ends the fault of a method (as it was given when it was set), or all; returns how many there were."""
    async with _connected(member, service, replica) as stub:
        request = pb.ClearFaultsRequest(method=method)
        return int((await stub.ClearFaults(request, timeout=_TIMEOUT)).cleared)


async def hang(member: Member, service: str, replica: Replica, lease: float) -> None:
    """Makes a replica hang: it takes calls and answers none, while its probes stay green.

    Args:
        lease: Seconds after which it goes on unless it is made to hang again.
    """
    await set_fault(member, service, replica, Fault(EVERY_METHOD, delay=HANG), HANG, lease)


async def unhang(member: Member, service: str, replica: Replica) -> None:
    """Lets it go on: what it has taken is served now."""
    await clear_faults(member, service, replica, EVERY_METHOD)


async def crash(member: Member, service: str, replica: Replica) -> None:
    """Ends a replica's process as kill -9 does; returns when its connection has broken."""
    async with _connected(member, service, replica) as stub:
        try:
            await stub.Crash(pb.CrashRequest(), timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as e:
            if e.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


def duration(seconds: float) -> Duration:
    """As protobuf has it."""
    told = Duration()
    told.FromNanoseconds(round(seconds * 1e9))
    return told


@contextlib.asynccontextmanager
async def _connected(member: Member, service: str, replica: Replica) -> AsyncIterator[FaultServiceStub]:
    """A stub to this replica and no other, be it sick or not ready."""
    config = dataclasses.replace(
        member.config, health=HealthConfig(watch=False), retry=RetryConfig(max_attempts=1)
    )
    name, only = f"{service}/{replica.id}", StaticResolver([Address(replica.host, replica.port)])
    async with MeshChannel(service, config, identity=member.identity, resolver=only) as channel:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await channel.channel_ready()
        except TimeoutError:
            raise ClusterError(f"{name} cannot be reached at {replica.address}") from None
        try:
            yield FaultServiceStub(channel)
        except grpc.aio.AioRpcError as e:
            raise ClusterError(f"{name} {_why(e)}") from None


def _why(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "takes no faults: MESH_FAULT_ENABLED is not set there"
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return f"refuses: {error.details()}"
    return f"answers {error.code().name}: {error.details()}"
