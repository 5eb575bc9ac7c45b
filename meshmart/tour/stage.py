"""What a scene uses: the cluster, a client's access to it, load, and a way to report."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from grpcmesh.member import Member
from local.errors import ClusterError, NoAnswerError
from local.words import plural
from meshmart.books.model import Books
from meshmart.books.verdict import Verdict
from meshmart.cluster import Cluster, Replica
from meshmart.tour.check import Check
from meshmart.tour.failures import failures
from services.loadgen.calls import ChannelSource
from services.loadgen.engine import Load, Pressure
from services.loadgen.journeys import catalogue, checkout, view
from services.loadgen.report import Report, spread

T = TypeVar("T")


class SceneError(Exception):
    """The scene could not be played. The message says why."""


@dataclass(frozen=True)
class Stage:
    """The environment of every scene."""

    cluster: Cluster
    #: Returns the client's channels: the mesh's own or, with `--plain`, grpc's own.
    channels: ChannelSource
    #: The serial number of the certificate that the client presents now.
    client_serial: Callable[[], int]
    say: Callable[[str], None]
    #: Reads and checks the shop's books. The argument is the seconds that they may take to settle.
    audit: Callable[[float], Awaitable[tuple[Verdict, Books]]]
    #: False with `--plain`: a client that knows neither idempotency keys nor cursors.
    careful: bool = True
    #: The tour's own membership of the mesh; None in a test that plays without one.
    member: Member | None = None
    #: The name of every replica that was seen, by its address.
    names: dict[str, str] = field(default_factory=dict)
    #: The services that were scaled.
    scaled: set[str] = field(default_factory=set)

    def browsing(self, rps: float = 100) -> Load:
        """Return a load of idempotent reads of the product service by one method."""
        return Load(view(self.channels), rps)

    def reading(self, rps: float = 100) -> Load:
        """Return a load of idempotent reads of the product service by three methods in turn."""
        return Load(catalogue(self.channels), rps)

    def pressing(self, workers: int = 6) -> Load:
        """Return a load that keeps `workers` idempotent reads in flight, so that any disruption affects some
        of them.
        """
        return Pressure(view(self.channels), workers)

    async def buying(self, rps: float = 5) -> Load:
        """Return a load of whole checkouts."""
        return Load(await checkout(self.channels), rps)

    async def replicas(self, service: str) -> list[Replica]:
        """Return the present replicas, ready or not. Their names are remembered."""
        found = await self.cluster.endpoints(service)
        self.names.update({r.address: f"{service}/{r.id} ({r.name}, {r.address})" for r in found})
        return found

    async def with_replicas(self, service: str, count: int) -> list[Replica]:
        """Make sure that exactly `count` replicas run and are ready, and return them.

        The lease is taken even if the number is right already: a tour that was killed may have left these
        replicas, and the end of its lease would remove them.
        """
        replicas = await self.replicas(service)
        if len(replicas) != count or not all(r.ready for r in replicas):
            self.say(f"scaling {service} to {count}")
        await self.scale(service, count)
        return await self.all_ready(service, count)

    async def scale(self, service: str, count: int) -> None:
        """Run another number of replicas until `restore`."""
        self.scaled.add(service)
        await self.cluster.scale_for_now(service, count)

    async def restore(self) -> None:
        """Restore the number of replicas of every service that was scaled. A failure is only reported,
        because the end of the lease restores it, too.
        """
        while self.scaled:
            service = self.scaled.pop()
            self.say(f"the lease on the number of replicas of {service} ends")
            try:
                await self.cluster.restore(service)
            except ClusterError as e:
                self.say(f"{service} gets them when its lease ends, because now it failed: {e}")

    async def all_ready(self, service: str, count: int, timeout: float = 60) -> list[Replica]:
        """Wait until the service has `count` replicas, all ready, and return them."""

        async def look() -> list[Replica] | None:
            replicas = await self.replicas(service)
            return replicas if len(replicas) == count and all(r.ready for r in replicas) else None

        return await self.until(look, f"{service} has {count} ready replicas", timeout)

    async def until(
        self, look: Callable[[], Awaitable[T | None]], what: str, timeout: float = 15, interval: float = 0.05
    ) -> T:
        """Call `look` until it returns a value, and return that. What does not answer is asked again.

        Raises SceneError after `timeout` seconds.
        """
        end, silence = time.monotonic() + timeout, ""
        while True:
            try:
                if (seen := await look()) is not None:
                    return seen
            except NoAnswerError as e:
                silence = f"; {e}"
            if time.monotonic() > end:
                raise SceneError(f"waited {timeout:g} s and it was not so: {what}{silence}")
            await asyncio.sleep(interval)

    async def settle(self, load: Load, calls: int, timeout: float = 30) -> None:
        """Wait until `calls` more calls of the load have ended. Raises SceneError after `timeout` seconds."""
        goal = len(load.report.samples) + calls

        async def look() -> bool | None:
            return True if len(load.report.samples) >= goal else None

        await self.until(look, f"{calls} calls", timeout)


class Scene(Protocol):
    """One experiment of the tour: a module with these names."""

    NAME: str
    #: What it will do, printed before it starts.
    SHOWS: str

    async def play(self, stage: Stage) -> list[Check]: ...


def no_failed_calls(stage: Stage, load: Load, journey: str = "calls") -> Check:
    """Return the check with which nearly every scene ends."""
    what = f"failed {journey} of {len(load.report.samples)}"
    return Check(what, load.report.errors, 0, relation="==", details=failures(load.report, stage.names))


def few_failed_calls(stage: Stage, reports: Sequence[Report], most: float = 0.1) -> Check:
    """Return the check that at most `most` percent of the calls of all reports failed."""
    calls = Report([sample for report in reports for sample in report.samples])
    calls.dropped = sum(report.dropped for report in reports)
    share = 100 * calls.errors / max(1, len(calls.samples))
    details = failures(calls, stage.names)
    return Check(f"failed calls of {len(calls.samples)}", share, most, " %", details=details)


def even_methods(report: Report, target: str, replicas: int, bound: float) -> list[Check]:
    """Return checks that `replicas` replicas share each method, not only all methods together."""
    return [
        Check(
            f"largest share of {method} over smallest",
            spread(counts) if len(counts) >= replicas else math.inf,
            bound,
            details=_counted(counts),
        )
        for method, counts in report.counts_by_method(target).items()
    ]


def _counted(counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{endpoint}: {plural(calls, 'call')}" for endpoint, calls in sorted(counts.items()))
