"""Makes the weather: performs a forecast on a running cluster, with the operations of the command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, cast

from bench.soak.forecast import Weather
from grpcmesh.clock import Clock
from grpcmesh.fault import Fault
from grpcmesh.fault.rules import EVERY_METHOD
from grpcmesh.member import Member
from local.dns import Outage
from local.errors import ClusterError
from local.tasks import until
from meshmart import faults
from meshmart.cluster import Replica
from meshmart.embedded import EmbeddedCluster
from meshmart.leases import LEASE

#: Seconds to wait for all replicas of a service before one of them is disturbed, and after it.
READY = 90.0
_POLL = 0.2


@dataclass(frozen=True)
class Passed:
    """A piece of weather as it came. Times are seconds since the start of the run.

    Attributes:
        ended: When everything that it had disturbed was ready again.
        problem: Why it did not come, or did not go; empty if it did.
    """

    weather: Weather
    began: float
    ended: float
    problem: str = ""


class Server(Protocol):
    """The database's server."""

    async def stop(self, mode: str) -> None:
        """End it, and every connection. The mode `immediate` is a crash, from which it recovers."""

    async def start(self) -> None:
        """Start it. Returns when it takes connections."""


class Storm:
    """Performs a forecast.

    Args:
        cluster: The cluster.
        member: The operator's membership, for faults.
        database: Is stopped and started.
        clock: Returns the seconds since the start of the run.
        on_passed: Called with each piece of weather that is over.
    """

    def __init__(
        self,
        cluster: EmbeddedCluster,
        member: Member,
        database: Server,
        clock: Clock,
        on_passed: Callable[[Passed], None] = lambda _: None,
    ) -> None:
        self._cluster, self._member, self._database = cluster, member, database
        self._clock, self._on_passed = clock, on_passed
        self._kinds: Mapping[str, Callable[[Weather], Awaitable[None]]] = {
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
        #: What has passed, in the order of its end.
        self.passed: list[Passed] = []
        #: What is going on, and since when.
        self.present: dict[Weather, float] = {}

    async def run(self, forecast: Sequence[Weather]) -> None:
        """Perform the forecast, and return when all is over.

        Weather waits for what it excludes: on a busy machine a replica takes longer to come back than the
        forecast knows.
        """
        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.TaskGroup() as group:
                for weather in forecast:
                    await asyncio.sleep(weather.at - self._clock())
                    earlier = [t for w, t in zip(forecast, tasks, strict=False) if w.excludes(weather)]
                    tasks.append(group.create_task(self._perform(weather, earlier), name=str(weather)))
        finally:
            self.present.clear()

    async def _perform(self, weather: Weather, earlier: Sequence[asyncio.Task[None]]) -> None:
        if earlier:
            await asyncio.wait(earlier)
        began, problem = self._clock(), ""
        try:
            await self._settled(weather)
            began = self.present[weather] = self._clock()
            await self._kinds[weather.kind](weather)
            await self._settled(weather)
        except (ClusterError, TimeoutError) as e:
            problem = str(e) or f"not every replica was ready within {READY:.0f} s"
        self.present.pop(weather, None)
        passed = Passed(weather, began, self._clock(), problem)
        self.passed.append(passed)
        self._on_passed(passed)

    async def _settled(self, weather: Weather) -> None:
        """Wait until every replica of what the weather disturbs is ready."""
        async with asyncio.timeout(READY):
            await until(lambda: self._ready(weather), _POLL)

    async def _ready(self, weather: Weather) -> bool:
        services = (await self._cluster.status())["services"]
        concerned = [weather.service] if weather.service else list(services)
        return all(r["ready"] for name in concerned for r in services[name]["replicas"])

    async def _kill(self, weather: Weather) -> None:
        await self._cluster.kill(weather.service, weather.replica)

    async def _freeze(self, weather: Weather) -> None:
        await self._cluster.pause(weather.service, weather.replica)
        try:
            await asyncio.sleep(weather.seconds)
        finally:
            with suppress(ClusterError):  # its probes may have ended it meanwhile
                await self._cluster.resume(weather.service, weather.replica)

    async def _scale(self, weather: Weather) -> None:
        now = len(await self._cluster.endpoints(weather.service))
        await self._cluster.scale_for_now(weather.service, now + int(weather.how))
        try:
            await asyncio.sleep(weather.seconds)
        finally:
            await self._cluster.restore(weather.service)

    async def _fault(self, weather: Weather) -> None:
        replica = await self._replica(weather)
        async with self._faulty(weather, replica):
            await asyncio.sleep(weather.seconds)

    @asynccontextmanager
    async def _faulty(self, weather: Weather, replica: Replica) -> AsyncIterator[None]:
        """Hold a fault, with a lease: what it disturbs recovers if this process dies."""
        share = float(weather.how or 1)
        fault = {
            "slow": Fault(EVERY_METHOD, delay=share),
            "abort": Fault(EVERY_METHOD, abort="UNAVAILABLE", share=share),
            "hang": Fault(EVERY_METHOD, delay=faults.HANG),
        }[weather.kind]
        where = self._member, weather.service, replica
        await faults.set_fault(*where, fault, weather.seconds + LEASE, LEASE)
        try:
            yield
        finally:
            await faults.clear_faults(*where, EVERY_METHOD)

    async def _replica(self, weather: Weather) -> Replica:
        for replica in await self._cluster.endpoints(weather.service):
            if replica.id == weather.replica:
                return replica
        raise ClusterError(f"there is no {weather.service}/{weather.replica}")

    async def _rotate(self, _: Weather) -> None:
        await self._cluster.rotate()

    async def _dns(self, weather: Weather) -> None:
        await self._cluster.break_dns(cast(Outage, weather.how))
        try:
            await asyncio.sleep(weather.seconds)
        finally:
            await self._cluster.mend_dns()

    async def _restart_database(self, weather: Weather) -> None:
        await self._database.stop(weather.how)
        try:
            await asyncio.sleep(weather.seconds)
        finally:
            await self._database.start()


def as_row(passed: Passed) -> dict[str, Any]:
    """Return it as a line of the run's file."""
    weather = passed.weather
    row: dict[str, Any] = {"row": "weather", "kind": weather.kind, "what": str(weather)}
    return {
        **row,
        "began": round(passed.began, 2),
        "ended": round(passed.ended, 2),
        "problem": passed.problem,
    }
