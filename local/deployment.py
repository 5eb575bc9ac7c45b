"""The replicas of one service: scaling, rolling restarts, and waiting for readiness."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass

from grpcmesh.clock import Clock, monotonic
from local.catalog import ServiceSpec
from local.changes import Changes
from local.errors import ClusterError
from local.events import Report
from local.logs import last_lines
from local.replica import Replica
from local.rollout import Add, Remove, Replace, Step, plan_restart, plan_scale, unavailable_for
from local.tasks import all_of

MAX_REPLICAS = 50


@dataclass(frozen=True)
class RolloutConfig:
    """The timing of rollouts, in seconds."""

    min_ready: float = 3.0
    """The time after which a ready replica is known to every caller: the TTL, and a second to connect."""
    grace: float = 30.0
    """The time that a replica may drain before it is killed (`terminationGracePeriodSeconds`)."""
    ready_timeout: float = 120.0
    """The time that a replica may take to become ready."""
    crashes: int = 3
    """The number of crashes after which a new replica that was never ready is given up."""


class Deployment:
    """Owns a service's replicas.

    Args:
        spec: The service.
        make: Creates a replica with the given number.
        own: Runs a replica as a task of the cluster.
        changes: Notified whenever a replica's state changed.
        config: The timing.
        clock: Monotonic seconds, the clock of the replicas.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        make: Callable[[ServiceSpec, int], Replica],
        own: Callable[[Replica], None],
        changes: Changes,
        config: RolloutConfig,
        clock: Clock = monotonic,
    ) -> None:
        self.spec = spec
        self._make, self._own, self._changes = make, own, changes
        self._config, self._clock = config, clock
        self._replicas: dict[int, Replica] = {}
        self.wanted = 0
        """The number of replicas that was asked for last."""
        self.lasting = 0
        """The same, apart from what was asked for with a lease."""
        self._lock = asyncio.Lock()  # one scaling or rolling restart at a time

    def replicas(self) -> list[Replica]:
        return [self._replicas[n] for n in sorted(self._replicas)]

    def ready(self) -> list[Replica]:
        return [r for r in self.replicas() if r.ready]

    def replica(self, number: int) -> Replica:
        """Return the replica with this number. Raises ClusterError if there is none."""
        if number not in self._replicas:
            raise ClusterError(f"there is no {self.spec.name}/{number}; there are {self._numbers()}")
        return self._replicas[number]

    def start(self, count: int) -> None:
        """Start replicas 1 to `count` without waiting for them."""
        self.wanted = self.lasting = count
        for number in range(1, count + 1):
            self._add(number)

    async def wait_ready(self, numbers: Collection[int], report: Report) -> None:
        """Wait until the replicas are ready.

        Raises:
            ClusterError: names a replica that is not ready in time, or that crashed several times.
        """
        waiting = [self._replicas[n] for n in numbers]
        started = self._clock()

        def settled() -> bool:
            return all(r.ready for r in waiting) or any(self._hopeless(r) for r in waiting)

        await self._changes.until(settled, self._config.ready_timeout)
        for replica in waiting:
            if not replica.ready:
                problem = (
                    f"{replica.name} does not become ready ({replica.restarts} restarts); see {replica.log}"
                )
                raise ClusterError(problem, last_lines(replica.log))
        names = ", ".join(str(r.number) for r in waiting)
        report(f"{self.spec.name}/{names} ready after {self._clock() - started:.1f} s")

    def check(self, wanted: int) -> None:
        """Raise ClusterError if it cannot have this number of replicas."""
        if not 0 <= wanted <= MAX_REPLICAS:
            raise ClusterError(f"{self.spec.name}={wanted}: must be from 0 to {MAX_REPLICAS}")

    async def scale(self, wanted: int, report: Report, *, for_now: bool = False) -> None:
        """Start or drain replicas until `wanted` are left. Returns when that is done.

        Args:
            wanted: The number of replicas.
            report: Called with each line of progress.
            for_now: Whether `lasting` is kept, because it is restored later.

        Raises:
            ClusterError: the number is out of range, or a new replica does not become ready.
        """
        self.check(wanted)
        self.wanted = wanted
        if not for_now:
            self.lasting = wanted
        async with self._lock:
            add, remove = plan_scale(self._replicas.keys(), wanted)
            for number in add:
                self._add(number)
            if add:
                report(f"starting {self.spec.name}/{', '.join(map(str, add))}")
                await self.wait_ready(add, report)
            if remove:
                await self._remove(remove, report)

    async def restart(self, report: Report) -> None:
        """Replace every replica, one after another, always keeping one in service.

        Raises:
            ClusterError: a replica does not become ready.
        """
        async with self._lock:
            before = set(self._replicas)
            try:
                for step in plan_restart(before, {r.number for r in self.ready()}):
                    await self._take(step, report)
            finally:
                # Drop a temporary replica that an error left behind.
                await self._drop([n for n in self._replicas if n not in before])

    async def _take(self, step: Step, report: Report) -> None:
        match step:
            case Add(number):
                report(f"starting {self.spec.name}/{number} for the time being")
                self._add(number)
                await self.wait_ready([number], report)
            case Replace(number):
                await self._replace(number, report)
            case Remove(number):
                await self._remove([number], report)

    async def stop(self, grace: float) -> None:
        """Drain all replicas at once, for at most `grace` seconds."""
        await all_of(*(r.stop(grace) for r in self.replicas()))
        self._replicas.clear()

    def _add(self, number: int) -> Replica:
        replica = self._replicas[number] = self._make(self.spec, number)
        self._own(replica)
        return replica

    async def _replace(self, number: int, report: Report) -> None:
        old = self._replicas[number]
        if old.ready:
            await self._others_available([number])
        report(f"draining {self.spec.name}/{number}")
        await old.stop(self._config.grace)
        self._add(number)
        await self.wait_ready([number], report)

    async def _remove(self, numbers: list[int], report: Report) -> None:
        if len(numbers) < len(self._replicas):
            await self._others_available(numbers)
        report(f"draining {self.spec.name}/{', '.join(map(str, numbers))}")
        await self._drop(numbers)

    async def _drop(self, numbers: Collection[int]) -> None:
        await all_of(*(self._replicas[n].stop(self._config.grace) for n in numbers))
        for number in numbers:
            self._replicas.pop(number, None)  # the cluster may have been stopped meanwhile
        self._changes.notify()

    async def _others_available(self, leaving: Collection[int]) -> None:
        """Wait until the replicas that stay have been ready for long enough.

        Raises:
            ClusterError: they are not in time.
        """
        staying = [r for r in self.replicas() if r.number not in leaving]
        deadline = self._clock() + self._config.ready_timeout
        while (wait := unavailable_for(staying, self._clock(), self._config.min_ready)) != 0:
            if self._clock() >= deadline:
                missing = ", ".join(r.name for r in staying if not r.ready)
                raise ClusterError(f"{missing} is not ready: nothing was taken out of service")
            if wait is None:
                await self._changes.until(lambda: all(r.ready for r in staying), deadline - self._clock())
            else:
                await asyncio.sleep(wait)

    def _hopeless(self, replica: Replica) -> bool:
        return replica.restarts >= self._config.crashes and not replica.ready

    def _numbers(self) -> str:
        return ", ".join(f"{self.spec.name}/{n}" for n in sorted(self._replicas)) or "none"
