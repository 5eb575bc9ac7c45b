"""The scene `sick-replica`: a replica fails every call while its probes are green."""

import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from grpcmesh.fault import Fault
from grpcmesh.member import Member
from grpcmesh.service_config.defaults import OUTLIER_DETECTION
from local.words import plural
from meshmart.cluster import Replica
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.faulty import faulty, hits, new_callers, until_well
from meshmart.tour.stage import SceneError, Stage, few_failed_calls
from services.loadgen.calls import ChannelSource
from services.loadgen.engine import Load
from services.loadgen.journeys import view

NAME = "sick-replica"
SHOWS = CATALOGUE[NAME]

SERVICE = "product"
#: Callers that read, and reads per second of each. Five failures in a row eject, and a third of the reads go
#: to the sick replica, so a caller needs 15 reads.
READERS, RPS = 3, 30.0
#: Checkouts per second, so that the replicas of order call product, too.
CHECKOUTS = 6.0
#: The most seconds for which it is sick: shorter than the first ejection, so that no probe meets the fault.
SICK = 8.0
#: The first ejection in seconds, and seconds after it until a call has probed the replica.
EJECTION, PROBE = OUTLIER_DETECTION.base_ejection_time, 2.0


@dataclass(frozen=True)
class _Seen:
    """What was seen while a replica was sick. Times are monotonic seconds."""

    #: The calls that it failed.
    failed: int
    #: The replicas that were ready by their probes.
    ready: int
    #: The start of the first call after which a reader ejected it, and the last ejection by a reader.
    began: float
    ejected_at: float
    #: The readers, and the replicas of order, that had ejected it.
    readers: int
    orders: int


async def play(stage: Stage) -> list[Check]:
    replicas = await stage.with_replicas(SERVICE, 3)
    await until_well(stage, SERVICE, replicas)
    async with _reading(stage) as (members, loads), await stage.buying(CHECKOUTS) as buying:
        for load in loads:
            await stage.settle(load, 60)
        sick = _busiest(replicas, loads)
        callers = _Callers(stage, members, sick.address)
        seen = await _sick(stage, sick, callers, loads)
        stage.say(f"it failed {plural(seen.failed, 'call')}; now it is well")
        well = time.monotonic()
        back = await _when(stage, callers.all_admit, EJECTION + 2 * PROBE)
        for load in loads:
            await stage.settle(load, 30)
    orders = len(await stage.replicas("order"))
    return [
        # Without one no call met the fault, and the other figures would prove nothing.
        Check("calls that it failed", seen.failed, 1, relation=">="),
        Check("replicas that are ready meanwhile", seen.ready, len(replicas), relation="=="),
        few_failed_calls(stage, [load.report for load in (*loads, buying)]),
        Check(f"readers that ejected it, of {READERS}", seen.readers, READERS, relation="=="),
        Check("until the last of them ejected it", seen.ejected_at - seen.began, 1.0, " s"),
        Check(f"replicas of order that ejected it, of {orders}", seen.orders, orders, relation="=="),
        Check("until all callers use it again", back - well, EJECTION + PROBE, " s"),
    ]


async def _sick(stage: Stage, sick: Replica, callers: "_Callers", loads: Sequence[Load]) -> _Seen:
    """Make a replica fail every call until its callers have ejected it, at most for `SICK` seconds."""
    asked = time.monotonic()
    async with faulty(stage, SERVICE, [sick], Fault(abort="UNAVAILABLE")):
        stage.say(f"{SERVICE}/{sick.id} at {sick.address} fails every call")
        ends = time.monotonic() + SICK
        ejected_at = await _when(stage, callers.all_readers_eject, ends - time.monotonic())
        await _when(stage, callers.all_orders_eject, ends - time.monotonic(), interval=0.2)
        return _Seen(
            failed=await hits(stage, SERVICE, sick),
            ready=sum(r.ready for r in await stage.replicas(SERVICE)),
            began=_first_disturbed(loads, asked),
            ejected_at=ejected_at,
            readers=callers.readers(),
            orders=sum(await callers.orders()),
        )


class _Callers:
    """The callers of product, and whether they have ejected a replica: readers of the tour, and order.

    Args:
        stage: The stage.
        members: The readers. None with `--plain`: gRPC's own client ejects nothing.
        address: The address of the replica.
    """

    def __init__(self, stage: Stage, members: Sequence[Member], address: str) -> None:
        self._stage, self._members, self._address = stage, members, address

    def readers(self) -> int:
        """Return how many readers have ejected it."""
        return sum(self._address in m.channel(SERVICE).state()["ejected"] for m in self._members)

    async def orders(self) -> list[bool]:
        """Return for each replica of order whether it has ejected a replica of product."""
        replicas = await self._stage.replicas("order")
        pages = [await self._stage.cluster.metrics("order", r.id) for r in replicas]
        return [
            any(s.name == "mesh_outlier_ejected" and s.labels["target"] == SERVICE and s.value for s in page)
            for page in pages
        ]

    async def all_readers_eject(self) -> bool:
        return self.readers() == READERS

    async def all_orders_eject(self) -> bool:
        return all(await self.orders())

    async def all_admit(self) -> bool:
        return not self.readers() and not any(await self.orders())


async def _when(
    stage: Stage, look: Callable[[], Awaitable[bool]], timeout: float, interval: float = 0.02
) -> float:
    """Return when `look` first returned True, in monotonic seconds; infinity if it did not in time."""

    async def seen() -> bool | None:
        return await look() or None

    try:
        await stage.until(seen, "", timeout, interval)
    except SceneError:
        return math.inf
    return time.monotonic()


@contextlib.asynccontextmanager
async def _reading(stage: Stage) -> AsyncIterator[tuple[list[Member], list[Load]]]:
    """Read as several callers until the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        if stage.careful:
            members = await stack.enter_async_context(new_callers(stage, READERS))
        else:
            members = []
        sources: list[ChannelSource] = [m.channel for m in members] or [stage.channels] * READERS
        loads = [await stack.enter_async_context(Load(view(source), RPS)) for source in sources]
        yield members, loads


def _busiest(replicas: Sequence[Replica], loads: Sequence[Load]) -> Replica:
    """Return the replica that answered most reads: a plain client uses only one."""

    def answered(replica: Replica) -> int:
        return sum(
            s.endpoint in (replica.address, replica.name) for load in loads for s in load.report.samples
        )

    return max(replicas, key=answered)


def _first_disturbed(loads: Sequence[Load], asked: float) -> float:
    """Return the start of the first call after `asked` that failed or was retried, in monotonic seconds."""
    samples = (s for load in loads for s in load.report.samples if s.intended > asked)
    return min((s.intended for s in samples if s.code != "OK" or s.attempts > 1), default=math.nan)
