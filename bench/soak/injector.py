"""Performs a schedule of disturbances on a running cluster, with the operations of the command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from bench.soak.schedule import Disturbance
from grpcmesh.clock import Clock
from grpcmesh.fault import Fault
from grpcmesh.fault.rules import EVERY_METHOD
from grpcmesh.member import Member
from local.dns import Outage
from local.errors import ClusterError
from local.tasks import until
from meshmart import faults
from meshmart.cluster import Replica, find_replica
from meshmart.embedded import EmbeddedCluster
from meshmart.leases import LEASE

#: Seconds to wait for all replicas of a service before one of them is disturbed, and after it.
READY = 90.0
_POLL = 0.2


@dataclass(frozen=True)
class Occurrence:
    """A disturbance as it happened. Times are seconds since the start of the run.

    Attributes:
        ended: When everything that it had disturbed was ready again.
        problem: Why it did not happen, or did not end; empty if it did both.
    """

    disturbance: Disturbance
    began: float
    ended: float
    problem: str = ""


class Server(Protocol):
    """The database's server."""

    async def stop(self, mode: str) -> None:
        """End it, and every connection. The mode `immediate` is a crash, from which it recovers."""

    async def start(self) -> None:
        """Start it. Returns when it takes connections."""


class Injector:
    """Performs a schedule of disturbances.

    Args:
        cluster: The cluster.
        member: The operator's membership, for faults.
        database: Is stopped and started.
        clock: Returns the seconds since the start of the run.
        on_end: Called with each disturbance that is over.
    """

    def __init__(
        self,
        cluster: EmbeddedCluster,
        member: Member,
        database: Server,
        clock: Clock,
        on_end: Callable[[Occurrence], None] = lambda _: None,
    ) -> None:
        self._cluster, self._member, self._database = cluster, member, database
        self._clock, self._on_end = clock, on_end
        self._kinds: Mapping[str, Callable[[Disturbance], Awaitable[None]]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "scale": self._scale,
            "slow": self._fault,
            "abort": self._fault,
            "hang": self._fault,
            "rotate": self._rotate,
            "dns": self._dns,
            "database": self._restart_database,
        }
        #: The disturbances that are over, in the order of their ends.
        self.occurrences: list[Occurrence] = []
        #: The disturbances that last now, and when each began.
        self.present: dict[Disturbance, float] = {}

    async def run(self, schedule: Sequence[Disturbance]) -> None:
        """Perform the schedule, and return when all disturbances are over.

        A disturbance waits for those that it excludes: on a busy machine a replica takes longer to come back
        than the schedule allows for.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for disturbance in schedule:
                    await asyncio.sleep(disturbance.at - self._clock())
                    earlier = [t for w, t in zip(schedule, tasks, strict=False) if w.excludes(disturbance)]
                    tasks.append(
                        group.create_task(self._perform(disturbance, earlier), name=str(disturbance))
                    )
        finally:
            self.present.clear()

    async def _perform(self, disturbance: Disturbance, earlier: Sequence[asyncio.Task[None]]) -> None:
        if earlier:
            await asyncio.wait(earlier)
        began, problem = self._clock(), ""
        try:
            await self._settled(disturbance)
            began = self.present[disturbance] = self._clock()
            await self._kinds[disturbance.kind](disturbance)
            await self._settled(disturbance)
        except (ClusterError, TimeoutError) as e:
            problem = str(e) or f"not every replica was ready within {READY:.0f} s"
        self.present.pop(disturbance, None)
        occurrence = Occurrence(disturbance, began, self._clock(), problem)
        self.occurrences.append(occurrence)
        self._on_end(occurrence)

    async def _settled(self, disturbance: Disturbance) -> None:
        """Wait until every replica of what it disturbs is ready."""
        async with asyncio.timeout(READY):
            await until(lambda: self._ready(disturbance), _POLL)

    async def _ready(self, disturbance: Disturbance) -> bool:
        services = (await self._cluster.status())["services"]
        concerned = [disturbance.service] if disturbance.service else list(services)
        return all(r["ready"] for name in concerned for r in services[name]["replicas"])

    async def _kill(self, disturbance: Disturbance) -> None:
        await self._cluster.kill(disturbance.service, disturbance.replica)

    async def _freeze(self, disturbance: Disturbance) -> None:
        await self._cluster.pause(disturbance.service, disturbance.replica)
        try:
            await asyncio.sleep(disturbance.seconds)
        finally:
            with suppress(ClusterError):  # its probes may have ended it meanwhile
                await self._cluster.resume(disturbance.service, disturbance.replica)

    async def _scale(self, disturbance: Disturbance) -> None:
        now = len(await self._cluster.endpoints(disturbance.service))
        await self._cluster.scale_for_now(disturbance.service, now + int(disturbance.how))
        try:
            await asyncio.sleep(disturbance.seconds)
        finally:
            await self._cluster.restore(disturbance.service)

    async def _fault(self, disturbance: Disturbance) -> None:
        replica = await find_replica(self._cluster, disturbance.service, disturbance.replica)
        async with self._faulty(disturbance, replica):
            await asyncio.sleep(disturbance.seconds)

    @asynccontextmanager
    async def _faulty(self, disturbance: Disturbance, replica: Replica) -> AsyncIterator[None]:
        """Hold a fault, with a lease: what it disturbs recovers if this process dies."""
        share = float(disturbance.how or 1)
        fault = {
            "slow": Fault(EVERY_METHOD, delay=share),
            "abort": Fault(EVERY_METHOD, abort="UNAVAILABLE", share=share),
            "hang": Fault(EVERY_METHOD, delay=faults.HANG),
        }[disturbance.kind]
        where = self._member, disturbance.service, replica
        await faults.set_fault(*where, fault, disturbance.seconds + LEASE, LEASE)
        try:
            yield
        finally:
            await faults.clear_faults(*where, EVERY_METHOD)

    async def _rotate(self, _: Disturbance) -> None:
        await self._cluster.rotate()

    async def _dns(self, disturbance: Disturbance) -> None:
        await self._cluster.break_dns(cast(Outage, disturbance.how))
        try:
            await asyncio.sleep(disturbance.seconds)
        finally:
            await self._cluster.mend_dns()

    async def _restart_database(self, disturbance: Disturbance) -> None:
        await self._database.stop(disturbance.how)
        try:
            await asyncio.sleep(disturbance.seconds)
        finally:
            await self._database.start()


def as_row(occurrence: Occurrence) -> dict[str, Any]:
    """Return it as a line of the run's file."""
    disturbance = occurrence.disturbance
    row: dict[str, Any] = {"row": "disturbance", "kind": disturbance.kind, "what": str(disturbance)}
    return {
        **row,
        "began": round(occurrence.began, 2),
        "ended": round(occurrence.ended, 2),
        "problem": occurrence.problem,
    }
