"""Puts the switches together."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from grpcmesh.clock import Clock
from meshmart.cluster import Cluster
from meshmart.console.records import Records
from meshmart.console.switches.disturbances import Disturbance, Disturbances
from meshmart.console.switches.load import LoadProcess
from meshmart.console.switches.mesh import Mesh
from meshmart.console.switches.runner import Runner
from meshmart.leases import Leases

if TYPE_CHECKING:
    from grpcmesh.member import Member


@contextlib.asynccontextmanager
async def switches(
    cluster: Cluster,
    member: Callable[[], Awaitable["Member"]],
    records: Records,
    services: Callable[[], Collection[str]],
    state_dir: Path,
    clock: Clock,
) -> AsyncIterator[Runner]:
    """Yield the runner of actions. At the end, running actions are interrupted, and leases expire.

    Args:
        cluster: The cluster.
        member: Returns the operator's membership.
        records: Notes what is done.
        services: Returns the names of the services.
        state_dir: The state directory of an embedded cluster.
        clock: Returns monotonic seconds.
    """

    async def over(disturbance: Disturbance, problem: str) -> None:
        await runner.ended(disturbance, problem)

    async def ended(words: str) -> None:
        await records.note("console", "ended", words)

    async with (
        Leases(records.say) as leases,
        LoadProcess() as load,
        Disturbances(clock, over) as disturbances,
    ):
        mesh = Mesh(cluster, member, disturbances, leases, load, state_dir, clock, ended)
        cluster.leases.ended = mesh.lost
        async with Runner(mesh, records, services) as runner:
            yield runner
