"""Acts on replicas of services, as the operator."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from local.errors import ClusterError
from meshmart.errors import CommandError

if TYPE_CHECKING:
    from grpcmesh.member import Member
    from meshmart.cluster import Cluster, Replica

T = TypeVar("T")
#: An action on one replica of a service.
Act = Callable[["Member", str, "Replica"], Awaitable[T]]
#: Each replica that was acted on, in order, with the result.
Outcome = Sequence[tuple[str, "Replica", T | ClusterError]]


async def on_each(
    member: "Member", cluster: "Cluster", services: Sequence[str], number: int, act: "Act[T]"
) -> "Outcome[T]":
    """Act on the replicas of services, all at once, and return the outcome for each.

    Args:
        member: The operator's membership.
        cluster: Knows the replicas.
        services: The names of the services.
        number: The number of the only replica that is meant; 0 means all.
        act: The action. A ClusterError that it raises is its result.

    Raises:
        CommandError: there is no replica with that number.
    """
    found = [(s, r) for s in services for r in await cluster.endpoints(s) if number in (0, r.id)]
    if number and not found:
        raise CommandError(f"there is no {'/'.join([*services[:1], str(number)])}")
    results = await asyncio.gather(*(act(member, s, r) for s, r in found), return_exceptions=True)
    outcome: list[tuple[str, Replica, T | ClusterError]] = []
    for (service, replica), result in zip(found, results, strict=True):
        if isinstance(result, BaseException) and not isinstance(result, ClusterError):
            raise result
        outcome.append((service, replica, result))
    return outcome
