"""A schedule performed on a cluster that only records, in virtual time."""

import asyncio
from collections import Counter
from typing import Any

from bench.soak.injector import READY, Injector, Occurrence
from bench.soak.schedule import Disturbance
from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError


class Recorded:
    """A cluster and its database. Each act takes a second, and after a kill the replica is away for five."""

    def __init__(self, away: float = 5.0) -> None:
        self.acts: list[tuple[float, str]] = []
        self._away, self._ready_at = away, 0.0

    async def _act(self, what: str) -> None:
        self.acts.append((self.now(), what))
        await asyncio.sleep(1)

    def now(self) -> float:
        return asyncio.get_running_loop().time() - 1000.0

    async def status(self) -> dict[str, Any]:
        replicas = [{"id": 1, "ready": True}, {"id": 2, "ready": self.now() >= self._ready_at}]
        return {"services": {"product": {"replicas": replicas}, "order": {"replicas": replicas[:1]}}}

    async def endpoints(self, service: str) -> list[int]:
        return [1, 2]

    async def kill(self, service: str, replica: int) -> None:
        await self._act(f"kill {service}/{replica}")
        self._ready_at = self.now() + self._away

    async def pause(self, service: str, replica: int) -> None:
        await self._act("pause")

    async def resume(self, service: str, replica: int) -> None:
        raise ClusterError("it has no process just now")

    async def scale_for_now(self, service: str, replicas: int) -> None:
        await self._act(f"scale {service} {replicas}")

    async def restore(self, service: str) -> None:
        await self._act(f"restore {service}")

    async def rotate(self) -> None:
        raise ClusterError("not every replica presents its own")

    async def break_dns(self, outage: str) -> None:
        await self._act(f"dns {outage}")

    async def mend_dns(self) -> None:
        await self._act("dns mended")

    async def stop(self, mode: str) -> None:
        await self._act(f"database {mode}")

    async def start(self) -> None:
        await self._act("database up")


def _perform(
    *schedule: Disturbance, cluster: Any = None, stop_after: float | None = None
) -> tuple[Any, list[Occurrence]]:
    cluster = cluster or Recorded()

    async def run() -> list[Occurrence]:
        injector = Injector(cluster, None, cluster, cluster.now)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(stop_after):
                await injector.run(schedule)
        except TimeoutError:
            pass
        assert not injector.present
        return injector.occurrences

    return cluster, run_in_virtual_time(run())


def test_a_disturbance_lasts_as_long_as_scheduled_and_is_undone() -> None:
    scale = Disturbance(20, "scale", 10, "product", how="+1")
    other = Disturbance(25, "scale", 8, "order", how="-1")
    dns = Disturbance(60, "dns", 8, how="servfail")
    cluster, occurrences = _perform(scale, other, dns)
    assert cluster.acts == [
        (20, "scale product 3"),
        (25, "scale order 1"),
        (31, "restore product"),
        (34, "restore order"),
        (60, "dns servfail"),
        (69, "dns mended"),
    ]
    spells = [(p.disturbance, p.began, p.ended, p.problem) for p in occurrences]
    assert spells == [(scale, 20, 32, ""), (other, 25, 35, ""), (dns, 60, 70, "")]


def test_a_disturbance_is_over_when_what_it_disturbed_is_ready_again() -> None:
    _, (occurrence,) = _perform(Disturbance(20, "kill", service="product", replica=2))
    assert (occurrence.began, round(occurrence.ended, 6)) == (20, 26)


def test_a_disturbance_waits_for_those_that_it_excludes_and_for_nothing_else() -> None:
    kill = Disturbance(20, "kill", service="product", replica=2)
    other = Disturbance(21, "scale", 2, "order", how="+1")
    database = Disturbance(22, "database", 3, how="immediate")
    cluster, _ = _perform(kill, other, database, cluster=Recorded(away=40.0))
    begun = {what: at for at, what in cluster.acts}
    assert begun["scale order 3"] == 21
    assert begun["database immediate"] >= 20 + 1 + 40
    assert begun["database up"] == begun["database immediate"] + 4


def test_what_cannot_be_done_is_told_and_the_rest_goes_on() -> None:
    rotate, freeze = Disturbance(20, "rotate"), Disturbance(21, "freeze", 2, "product", 2)
    _, occurrences = _perform(rotate, freeze)
    assert Counter(p.problem for p in occurrences) == {"not every replica presents its own": 1, "": 1}


def test_a_replica_that_never_comes_back_is_a_problem() -> None:
    _, (occurrence,) = _perform(
        Disturbance(20, "kill", service="product", replica=2), cluster=Recorded(away=1e9)
    )
    assert occurrence.problem == f"not every replica was ready within {READY:.0f} s"


def test_a_run_that_is_stopped_undoes_what_it_has_done() -> None:
    rest = {"dns": "dns mended", "scale": "restore product", "database": "database up"}
    for disturbance in (
        Disturbance(20, "dns", 60, how="silent"),
        Disturbance(20, "scale", 60, "product", how="-1"),
        Disturbance(20, "database", 60, how="fast"),
    ):
        cluster, _ = _perform(disturbance, stop_after=40)
        assert [what for _, what in cluster.acts][1:] == [rest[disturbance.kind]]
