"""Carries out the actions, with the same operations as the verbs of `meshmart`."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grpcmesh.clock import Clock
from local.errors import ClusterError
from local.words import plural
from meshmart.cluster import Cluster, Replica, find_replica
from meshmart.console.switches.disturbances import Disturbance, Disturbances
from meshmart.console.switches.load import LoadProcess
from meshmart.leases import LEASE, Leases

if TYPE_CHECKING:
    from grpcmesh.fault import Fault
    from grpcmesh.member import Member

Arguments = Mapping[str, Any]
#: Seconds that are added to the time of a load, because its process needs some to connect and to end.
_LOAD_GRACE = 30.0


class Mesh:
    """The operations. Each takes the admin's name and the arguments, and returns what it did in words.

    Args:
        cluster: The cluster.
        member: Returns the operator's membership.
        disturbances: Keeps what has to be put back later.
        leases: Renews the leases of faults; the cluster renews those of its own operations.
        load: Makes load.
        state_dir: The state directory of an embedded cluster.
        clock: Returns monotonic seconds.
        ended: Called with a sentence when a disturbance ended early and nobody put it back.
    """

    def __init__(
        self,
        cluster: Cluster,
        member: Callable[[], Awaitable["Member"]],
        disturbances: Disturbances,
        leases: Leases,
        load: LoadProcess,
        state_dir: Path,
        clock: Clock,
        ended: Callable[[str], Awaitable[None]],
    ) -> None:
        self.cluster, self.member, self.disturbances, self.leases = cluster, member, disturbances, leases
        self._load, self._state_dir, self._clock, self._ended = load, state_dir, clock, ended

    async def kill(self, who: str, given: Arguments) -> str:
        service, number = given["service"], given["replica"]
        killed = await self.cluster.kill(service, number)
        await self._settle(service, number)
        return f"{service}/{number} was killed ({killed})"

    async def crash(self, who: str, given: Arguments) -> str:
        from meshmart.faults import crash

        service, number = given["service"], given["replica"]
        await crash(await self.member(), service, await find_replica(self.cluster, service, number))
        await self._settle(service, number)
        return f"{service}/{number} crashed: its process exited by itself"

    async def restart(self, who: str, given: Arguments) -> str:
        service = given["service"]
        await self.cluster.restart(service)
        for number in {d.replica for d in self.disturbances if d.service == service and d.replica}:
            await self._settle(service, number)
        return f"every replica of {service} was replaced"

    async def rotate(self, who: str, given: Arguments) -> str:
        serials = await self.cluster.rotate()
        return f"renewed {plural(len(serials), 'certificate')}"

    async def pause(self, who: str, given: Arguments) -> str:
        service, number = given["service"], given["replica"]
        await self.cluster.pause(service, number)
        undo = functools.partial(self.cluster.resume, service, number)
        words = f"{service}/{number} hangs"
        self._add(("pause", service, number), words, who, given["seconds"], undo, service, number)
        return words

    async def scale(self, who: str, given: Arguments) -> str:
        service, replicas = given["service"], given["replicas"]
        undo = functools.partial(self.cluster.restore, service)
        words = f"{service} has {plural(replicas, 'replica')} for now"
        # Noted first, because scaling may take long, and it must be possible to put it back meanwhile.
        self._add(("scale", service), words, who, given["seconds"], undo, service)
        try:
            await self.cluster.scale_for_now(service, replicas)
        except ClusterError:
            self.disturbances.forget(("scale", service))
            with suppress(ClusterError):
                await undo()
            raise
        return words

    async def fault(self, who: str, given: Arguments) -> str:
        from grpcmesh.fault import Fault
        from meshmart.faults import HANG, pattern, set_fault
        from meshmart.replicas import on_each

        kind, service = given["kind"], given["service"]
        delay = {"delay": given["delay_ms"] / 1000, "hang": HANG}.get(kind, 0.0)
        abort = given["code"] if kind == "error" else ""
        fault = Fault(pattern(service, given["method"]), given["share"], delay, abort)
        ends = self._clock() + given["seconds"]

        async def one(member: "Member", service: str, replica: Replica) -> None:
            await set_fault(member, service, replica, fault, given["seconds"], LEASE)
            self._hold(who, service, replica, fault, ends)

        outcome = await on_each(await self.member(), self.cluster, [service], given["replica"], one)
        if not outcome:
            raise ClusterError(f"{service} has no replicas")
        problems = [str(result) for *_, result in outcome if isinstance(result, ClusterError)]
        if problems:
            raise ClusterError(f"{len(problems)} of {len(outcome)} replicas refused the fault: {problems[0]}")
        return f"{self._named(service, given['replica'])}: {_words(fault)}"

    async def load(self, who: str, given: Arguments) -> str:
        scenario, rps, seconds = given["scenario"], given["rps"], given["seconds"]
        options = ["--state-dir", str(self._state_dir), "--scenario", scenario]
        options += ["--rps", str(rps), "--seconds", str(seconds)]

        async def ended(told: str) -> None:
            self.disturbances.forget("load")
            await self._ended(f"The load has ended: {told}")

        async def stop() -> None:
            await self._load.stop()

        self.disturbances.forget("load")  # starting another load ends it, even if the other fails
        await self._load.start(options, ended)
        words = f"load: {rps:g} times a second {scenario}"
        if self._load.running:
            self._add("load", words, who, seconds + _LOAD_GRACE, stop)
        return words

    def _hold(self, who: str, service: str, replica: Replica, fault: "Fault", ends: float) -> None:
        """Renew the lease of a fault that was just set, until it is put back."""
        from meshmart.faults import clear_faults, list_faults, set_fault

        key = ("fault", service, replica.name, fault.method)

        async def renew() -> None:
            if (await self._incarnation(service, replica)) != replica.incarnation:
                self._let_go(key)
                await self._ended(f"{replica.name} was replaced, which ended its fault")
                return
            there = await list_faults(await self.member(), service, replica)
            if (left := ends - self._clock()) <= 0:
                return
            if any(f.fault.method == fault.method and f.leased for f in there):
                await set_fault(await self.member(), service, replica, fault, left, LEASE)
            else:  # setting it again would bring back what somebody has cleared
                self._let_go(key)
                await self._ended(f"the fault of {replica.name} has ended: cleared, or not renewed in time")

        async def undo() -> None:
            self.leases.drop(key)
            if (await self._incarnation(service, replica)) == replica.incarnation:
                await clear_faults(await self.member(), service, replica, fault.method)

        self.leases.hold(key, renew)
        left, words = ends - self._clock(), f"{service}/{replica.id}: {_words(fault)}"
        self._add(key, words, who, left, undo, service, replica.id)

    def _add(
        self,
        key: Hashable,
        words: str,
        who: str,
        seconds: float,
        undo: Callable[[], Awaitable[None]],
        service: str = "",
        replica: int = 0,
    ) -> None:
        ends = self._clock() + seconds
        self.disturbances.add(Disturbance(key, words, who, ends, undo, service, replica))

    async def lost(self, lease: Hashable) -> None:
        """Forget a pause or a scale that somebody else has ended.

        Args:
            lease: The name of its lease: see `Cluster.leases`.
        """
        service, _, number = str(lease).partition("/")
        key = ("pause", service, int(number)) if number else ("scale", service)
        if (found := self.disturbances.forget(key)) is not None:
            await self._ended(f"{found.words}: somebody else has ended that")

    def _let_go(self, key: Hashable) -> None:
        self.leases.drop(key)
        self.disturbances.forget(key)

    async def _settle(self, service: str, number: int) -> None:
        """Forget the disturbances of a replica whose process has ended: they have ended with it."""
        of_it = [d for d in self.disturbances if (d.service, d.replica) == (service, number)]
        await self.disturbances.undo(of_it)

    async def _incarnation(self, service: str, replica: Replica) -> str:
        found = [r for r in await self.cluster.endpoints(service) if r.name == replica.name]
        return found[0].incarnation if found else ""

    def _named(self, service: str, number: int) -> str:
        return f"{service}/{number}" if number else f"every replica of {service}"


def _words(fault: "Fault") -> str:
    from grpcmesh.fault.rules import EVERY_METHOD

    what = f"answers {fault.abort}" if fault.abort else f"delays by {fault.delay:g} s"
    if fault.delay >= 3600:
        what = "answers nothing"
    calls = "all calls" if fault.method == EVERY_METHOD else fault.method.rpartition("/")[2]
    return f"{what}, {fault.share:.0%} of {calls}"


async def put_back(mesh: Mesh) -> tuple[str, list[str]]:
    """Undo everything that the console disturbs, and whatever else is disturbed. Idempotent.

    Return what was done in words, and the problems of what could not be undone.
    """
    mine = list(mesh.disturbances)
    problems = [f"{words}: {problem}" for words, problem in (await mesh.disturbances.undo(mine)).items()]
    services = list((await mesh.cluster.status())["services"])
    found = await asyncio.gather(*(_service_back(mesh, service) for service in services))
    cleared = sum(count for count, _ in found)
    problems += [problem for _, some in found for problem in some]
    others = f"; faults of others that were cleared: {cleared}" if cleared else ""
    return f"disturbances of the console that were put back: {len(mine)}{others}", problems


async def _service_back(mesh: Mesh, service: str) -> tuple[int, list[str]]:
    """Resume a service's replicas, clear their faults, and restore their number."""
    from meshmart.faults import NoFaultsError, clear_faults, services_with_methods

    problems: list[str] = []
    cleared = 0

    async def replica(each: Replica) -> None:
        nonlocal cleared
        with suppress(ClusterError):  # a process that has ended is not paused; other errors show below
            await mesh.cluster.resume(service, each.id)
        try:
            count = await clear_faults(await mesh.member(), service, each)
            cleared += count  # not in one statement with the await, during which other tasks add to it
        except NoFaultsError:
            return
        except ClusterError as e:
            problems.append(str(e))

    try:
        if service in services_with_methods():
            running = [r for r in await mesh.cluster.endpoints(service) if r.incarnation]
            await asyncio.gather(*map(replica, running))
        await mesh.cluster.restore(service)
    except ClusterError as e:
        problems.append(str(e))
    return cleared, problems
