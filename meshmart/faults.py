"""Injects faults into single replicas through their own `mesh.fault.v1.FaultService`, on any cluster.

Every function takes the operator's membership (`meshmart.operator.join`), a service and one of its replicas
(`Cluster.endpoints`), and raises ClusterError if the replica cannot be reached or refuses.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import grpc

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import HealthConfig, RetryConfig
from grpcmesh.fault import Fault
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.fault_pb2_grpc import FaultServiceStub
from grpcmesh.fault.rules import EVERY_METHOD
from grpcmesh.fault.wire import duration, fault_message
from grpcmesh.member import Member
from grpcmesh.resolver import Address, StaticResolver
from local.errors import ClusterError, NoAnswerError
from meshmart import methods
from meshmart.cluster import Replica
from meshmart.errors import CommandError

_TIMEOUT = 10.0


class NoFaultsError(ClusterError):
    """The replica takes no faults, so it has none."""


#: The longest hang, in seconds.
HANG = 3600.0
_HANG = Fault(EVERY_METHOD, delay=HANG)


async def set_fault(
    member: Member,
    service: str,
    replica: Replica,
    fault: Fault,
    lasts: float | None = None,
    lease: float | None = None,
) -> None:
    """Set a fault, replacing the one that its method had.

    Args:
        lasts: Seconds after which it ends by itself. If None, it ends when it is cleared or its process ends.
        lease: Seconds after which it ends unless it is set again. If None, it has no lease.
    """
    request = pb.SetFaultRequest(
        fault=fault_message(fault),
        lasts=None if lasts is None else duration(lasts),
        lease=None if lease is None else duration(lease),
    )
    async with _connected(member, service, replica) as stub:
        await stub.SetFault(request, timeout=_TIMEOUT)


async def list_faults(member: Member, service: str, replica: Replica) -> list[pb.ActiveFault]:
    """Return the faults that are set."""
    async with _connected(member, service, replica) as stub:
        return list((await stub.ListFaults(pb.ListFaultsRequest(), timeout=_TIMEOUT)).faults)


async def clear_faults(member: Member, service: str, replica: Replica, method: str = "") -> int:
    """Clear the fault of a method (as it was named when it was set), or all. Return how many there were."""
    async with _connected(member, service, replica) as stub:
        request = pb.ClearFaultsRequest(method=method)
        return int((await stub.ClearFaults(request, timeout=_TIMEOUT)).cleared)


async def has_leased(member: Member, service: str, replica: Replica, fault: Fault) -> bool:
    """Return whether a replica has this fault under a lease, and not one that took its place."""
    there = await list_faults(member, service, replica)
    return any(f.leased and f.fault == fault_message(fault) for f in there)


async def clear_leased(member: Member, service: str, replica: Replica, fault: Fault) -> None:
    """Clear a fault that is under a lease. One that somebody has set in its place stays."""
    if await has_leased(member, service, replica, fault):
        await clear_faults(member, service, replica, fault.method)


async def hang(member: Member, service: str, replica: Replica, lease: float) -> None:
    """Make a replica hang: it accepts calls and answers none, while its probes stay green.

    Args:
        lease: Seconds after which it recovers unless this is called again.
    """
    await set_fault(member, service, replica, _HANG, HANG, lease)


async def hangs(member: Member, service: str, replica: Replica) -> bool:
    """Return whether a replica hangs under a lease. Another fault of every method may have replaced that."""
    return await has_leased(member, service, replica, _HANG)


async def unhang(member: Member, service: str, replica: Replica) -> None:
    """End the hang of a replica: the calls that it has accepted are served now.

    A fault that somebody has set in its place stays.
    """
    await clear_leased(member, service, replica, _HANG)


async def crash(member: Member, service: str, replica: Replica) -> None:
    """End a replica's process like kill -9. Returns when its connection has broken."""
    async with _connected(member, service, replica) as stub:
        try:
            await stub.Crash(pb.CrashRequest(), timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as e:
            if e.code() is not grpc.StatusCode.UNAVAILABLE:
                raise


def services_with_methods(service: str = "") -> list[str]:
    """Return a service, or all that serve methods.

    Raises:
        CommandError: there is no such service.
    """
    services = methods.targets()
    if service and service not in services:
        raise CommandError(f"there is no service {service!r} with methods; there are {', '.join(services)}")
    return [service] if service else list(services)


def pattern(service: str, method: str) -> str:
    """Return `ecommerce.ProductService/GetProduct` for `product` and `GetProduct`. Full names are kept.

    Raises:
        CommandError: there is no such service or method.
    """
    services_with_methods(service)
    if not method or "/" in method or method == EVERY_METHOD:
        return method or EVERY_METHOD
    found = methods.find(f"{methods.targets()[service]}/{method}")
    return f"{found.containing_service.full_name}/{found.name}"


@contextlib.asynccontextmanager
async def _connected(member: Member, service: str, replica: Replica) -> AsyncIterator[FaultServiceStub]:
    """Yield a stub to this replica only, even if it is unhealthy or not ready."""
    config = dataclasses.replace(
        member.config, health=HealthConfig(watch=False), retry=RetryConfig(max_attempts=1)
    )
    name, only = f"{service}/{replica.id}", StaticResolver([Address(replica.host, replica.port)])
    async with MeshChannel(service, config, identity=member.identity, resolver=only) as channel:
        try:
            async with asyncio.timeout(_TIMEOUT):
                await channel.channel_ready()
        except TimeoutError:
            raise NoAnswerError(f"{name} cannot be reached at {replica.address}") from None
        try:
            yield FaultServiceStub(channel)
        except grpc.aio.AioRpcError as e:
            kind = NoFaultsError if e.code() is grpc.StatusCode.UNIMPLEMENTED else ClusterError
            raise kind(f"{name} {_why(e)}") from None


def _why(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "takes no faults: MESH_FAULT_ENABLED is not set there"
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return f"refuses: {error.details()}"
    return f"answers {error.code().name}: {error.details()}"
