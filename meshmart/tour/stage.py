"""What a scene plays on: the cluster, a client's way into it, load, and a voice."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from meshmart.books.model import Books
from meshmart.books.verdict import Verdict
from meshmart.cluster import Cluster, Replica
from meshmart.tour.check import Check
from services.loadgen.calls import ChannelSource
from services.loadgen.engine import Load, Pressure
from services.loadgen.journeys import checkout, view

T = TypeVar("T")


class SceneError(Exception):
    """The scene could not be played; the message says why."""


@dataclass(frozen=True)
class Stage:
    """Given to every scene."""

    cluster: Cluster
    #: Makes the client's channels: the mesh's own, or with `--plain` what grpc gives by itself.
    channels: ChannelSource
    #: The serial number of the certificate that the client presents now.
    client_serial: Callable[[], int]
    say: Callable[[str], None]
    #: Reads and checks the shop's books, for as many seconds as they may take to settle.
    audit: Callable[[float], Awaitable[tuple[Verdict, Books]]]
    #: False with `--plain`: a client that knows neither idempotency keys nor cursors.
    careful: bool = True

    def browsing(self, rps: float = 100) -> Load:
        """Load of idempotent reads of the product service."""
        return Load(view(self.channels), rps)

    def pressing(self, workers: int = 6) -> Load:
        """Idempotent reads, `workers` of them in flight at every moment: whatever breaks, breaks some."""
        return Pressure(view(self.channels), workers)

    async def buying(self, rps: float = 5) -> Load:
        """Load of whole checkouts."""
        return Load(await checkout(self.channels), rps)

    async def with_replicas(self, service: str, count: int) -> list[Replica]:
        """Makes sure that `count` replicas are there and ready."""
        replicas = await self.cluster.endpoints(service)
        if len(replicas) != count or not all(r.ready for r in replicas):
            self.say(f"scaling {service} to {count}")
            await self.cluster.scale(service, count)
        return await self.all_ready(service, count)

    async def all_ready(self, service: str, count: int, timeout: float = 60) -> list[Replica]:
        """Waits until the service has `count` replicas, all ready."""

        async def look() -> list[Replica] | None:
            replicas = await self.cluster.endpoints(service)
            return replicas if len(replicas) == count and all(r.ready for r in replicas) else None

        return await self.until(look, f"{service} has {count} ready replicas", timeout)

    async def until(
        self, look: Callable[[], Awaitable[T | None]], what: str, timeout: float = 15, interval: float = 0.05
    ) -> T:
        """Looks until there is something to see; raises SceneError after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            if (seen := await look()) is not None:
                return seen
            if time.monotonic() > end:
                raise SceneError(f"waited {timeout:g} s and it was not so: {what}")
            await asyncio.sleep(interval)

    async def settle(self, load: Load, calls: int, timeout: float = 30) -> None:
        """Waits until the load has seen `calls` more calls end."""
        goal = len(load.report.samples) + calls

        async def look() -> bool | None:
            return True if len(load.report.samples) >= goal else None

        await self.until(look, f"{calls} calls", timeout)


class Scene(Protocol):
    """One experiment of the tour: a module with these names."""

    NAME: str
    #: What it will do, said before it does it.
    SHOWS: str

    async def play(self, stage: Stage) -> list[Check]: ...


def no_failed_calls(load: Load, journey: str = "calls") -> Check:
    """The check that nearly every scene ends with."""
    return Check(f"failed {journey} of {len(load.report.samples)}", load.report.errors, 0, relation="==")
