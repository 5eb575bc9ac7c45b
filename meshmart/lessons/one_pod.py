"""The experiment `one-pod`: a plain gRPC client and the mesh's client read the same service side by side.

gRPC's default policy is `pick_first`: a channel connects to the first address that answers, and sends every
call over that connection until it breaks (https://github.com/grpc/grpc/blob/master/doc/load-balancing.md).
A headless DNS name gives it all addresses, and it uses one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from meshmart.cluster import Replica
from meshmart.lessons.experiments import OWN
from meshmart.plain import PlainChannels
from meshmart.tour.check import Check
from meshmart.tour.stage import SceneError, Stage, no_failed_calls
from services.loadgen.engine import Load
from services.loadgen.journeys import view
from services.loadgen.report import Report, spread

NAME = "one-pod"
SHOWS = OWN[NAME]

SERVICE = "product"
#: Reads per second of each client, and how many are counted.
RPS, CALLS = 50.0, 450


async def play(stage: Stage) -> list[Check]:
    replicas = await stage.with_replicas(SERVICE, 3)
    async with _plain(stage) as plain, Load(view(plain), RPS) as pinned, stage.browsing(RPS) as spreading:
        await _all_answer(stage, spreading, replicas)
        begun = spreading.report.samples[-1].intended
        stage.say(f"counting {CALLS} reads of each client")
        await asyncio.gather(stage.settle(pinned, CALLS), stage.settle(spreading, CALLS))
    of_plain, of_mesh = (_counts(load.report.since(begun), replicas) for load in (pinned, spreading))
    _tell(stage, "the plain client", of_plain)
    _tell(stage, "the mesh's client", of_mesh)
    return [
        Check(f"replicas that the plain client reached, of {len(replicas)}", len(of_plain), 1, relation="=="),
        Check("largest share of one replica, plain client", _largest(of_plain), 100, " %", "=="),
        Check(
            f"replicas that the mesh's client reached, of {len(replicas)}",
            len(of_mesh),
            len(replicas),
            relation="==",
        ),
        Check("largest share of one replica, mesh's client", _largest(of_mesh), 100 / 3 * 1.05, " %"),
        Check("largest share over smallest, mesh's client", spread(of_mesh), 1.05),
        no_failed_calls(stage, spreading, "reads of the mesh's client"),
    ]


@asynccontextmanager
async def _plain(stage: Stage) -> AsyncIterator[PlainChannels]:
    """Yield channels of gRPC's own client, with the same certificates and the same DNS."""
    if stage.member is None:
        raise SceneError("only a member of the mesh has the certificates that a client needs")
    channels = PlainChannels(stage.member.config)
    try:
        yield channels
    finally:
        await channels.aclose()


async def _all_answer(stage: Stage, load: Load, replicas: list[Replica]) -> None:
    """Wait until the mesh's client has settled: each replica has had 30 calls, or two DNS TTLs are over."""

    async def look() -> bool | None:
        counts = _counts(load.report, replicas)
        return True if all(counts[f"{SERVICE}/{r.id}"] >= 30 for r in replicas) else None

    try:
        await stage.until(look, "each replica answers", 2 * await stage.cluster.dns_ttl())
    except SceneError:
        stage.say("not every replica answers the mesh's client")


def _counts(report: Report, replicas: list[Replica]) -> Counter[str]:
    """Return the number of calls that each replica answered, by its name, such as `product/1`.

    A call of the mesh's client knows the replica's address, a plain call the name that the server reports.
    """
    names = {known: f"{SERVICE}/{r.id}" for r in replicas for known in (r.address, r.name)}
    return Counter(names.get(s.endpoint, s.endpoint) for s in report.samples if s.endpoint)


def _largest(counts: Mapping[str, int]) -> float:
    """Return the largest share in percent."""
    return 100 * max(counts.values(), default=0) / max(1, sum(counts.values()))


def _tell(stage: Stage, who: str, counts: Mapping[str, int]) -> None:
    total = max(1, sum(counts.values()))
    shares = ", ".join(f"{name} {100 * calls / total:.0f} %" for name, calls in sorted(counts.items()))
    stage.say(f"{who}: {shares or 'no call was answered'}")
