"""Whatever the order of events: when all leases have ended, there is what the user has asked for last.

The verbs of the control socket drive real deployments of replicas without processes, in virtual time.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from grpcmesh.testing.clock import run_in_virtual_time
from local.addresses import Place
from local.backoff import BackoffConfig
from local.catalog import ServiceSpec
from local.changes import Changes
from local.deployment import Deployment, RolloutConfig
from local.errors import ClusterError
from local.leases import AGAIN, Leases
from local.operations import Operations
from local.probes import Answer, ProbeConfig
from local.replica import Replica

ROLLOUT = RolloutConfig(min_ready=1, grace=5, ready_timeout=20)
PROBES = ProbeConfig(startup_period=1, period=5, failure_period=5)
SPEC = ServiceSpec("product", "nothing", 1)
LEASE = 30.0


class Process:
    """A process that ends when it is asked to."""

    def __init__(self) -> None:
        self.pid, self.exit_code, self.hangs = 1, None, False
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def pause(self) -> None:
        self.hangs = True

    def resume(self) -> None:
        self.hangs = False

    def kill(self) -> None:
        if not self._ended.done():
            self._ended.set_result(-9)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def stop(self, grace: float) -> int:
        await asyncio.sleep(1)
        self.kill()
        return await self.wait()


class Prober:
    """Every replica is well, unless the cluster is broken: then none is."""

    def __init__(self, cluster: "Cluster") -> None:
        self._cluster = cluster

    async def check(self) -> Answer:
        return Answer.NOT_SERVING if self._cluster.broken else Answer.SERVING

    async def aclose(self) -> None:
        return


class Cluster:
    """One service of two replicas, and what its user has asked for last."""

    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.changes, self.broken, self.asked = Changes(), False, 2
        self._failed = False
        self._work: list[asyncio.Task[None]] = []
        self._runs: list[asyncio.Task[None]] = []
        self.product = Deployment(SPEC, self._replica, self._own, self.changes, ROLLOUT, clock)
        self.product.start(2)
        self._leases = Leases(lambda _: None, clock)
        supervisor: Any = SimpleNamespace(
            deployments={"product": self.product},
            leases=self._leases,
            changes=self.changes,
            started=True,
            stopping=asyncio.Event(),
            journal=SimpleNamespace(write=lambda _: None),
            tell=lambda _: None,
        )
        self._operations = Operations(supervisor)

    def _replica(self, spec: ServiceSpec, number: int) -> Replica:
        async def launch() -> Any:
            return Process()

        def tell(text: str, notable: bool = False) -> None:
            self.changes.notify()

        clock, log = asyncio.get_running_loop().time, Path("/nonexistent")
        place = Place("127.0.0.1", 1, 2, 3, 4)
        return Replica(spec, number, place, launch, Prober(self), tell, log, PROBES, BackoffConfig(), clock)

    def _own(self, replica: Replica) -> None:
        self._runs.append(asyncio.create_task(replica.run()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._leases.run())
        try:
            yield
        finally:
            tasks = [task, *self._runs]
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self) -> None:
        """Let everything heal, and all leases end. Then the user asks again for what was refused."""
        self.broken = False
        await asyncio.gather(*self._work)
        await asyncio.sleep(3 * (LEASE + AGAIN))
        if self._failed:
            await self._scale_for_good(self.asked)

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._work.append(asyncio.create_task(work))

    async def do(self, verb: str, **arguments: Any) -> None:
        """Send a request. It may be refused: the command would say so."""
        with suppress(ClusterError):
            await self._operations.handle({"verb": verb, "service": "product"} | arguments, lambda _: None)

    async def scale_for_good(self, replicas: int) -> None:
        if replicas <= 50:
            self.asked = replicas
        await self._scale_for_good(replicas)

    async def _scale_for_good(self, replicas: int) -> None:
        request = {"verb": "scale", "service": "product", "replicas": replicas}
        try:
            await self._operations.handle(request, lambda _: None)
        except ClusterError:
            self._failed = self._failed or replicas <= 50
        else:
            self._failed = False

    @property
    def numbers(self) -> list[int]:
        return [r.number for r in self.product.replicas()]


REPLICAS = st.sampled_from([1, 2, 3, 4, 60])
NUMBERS = st.integers(1, 3)
EVENTS = st.one_of(
    st.tuples(st.just("for good"), REPLICAS),
    st.tuples(st.sampled_from(["for now", "renew the number"]), REPLICAS),
    st.tuples(st.sampled_from(["pause", "renew the pause", "resume", "kill"]), NUMBERS),
    st.tuples(st.sampled_from(["restore", "restart"]), st.just(0)),
    st.tuples(st.sampled_from(["break", "mend"]), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 2, 10, 25, 30, 60, 100])),
)


def work(cluster: Cluster, event: str, number: int) -> Coroutine[Any, Any, None]:
    match event:
        case "for good":
            return cluster.scale_for_good(number)
        case "for now":
            return cluster.do("scale", replicas=number, lease=LEASE)
        case "renew the number":
            return cluster.do("renew", replicas=number, lease=LEASE)
        case "pause" | "resume" | "kill":
            return cluster.do(event, replica=number, lease=LEASE)
        case "renew the pause":
            return cluster.do("renew", replica=number, lease=LEASE)
        case "restore" | "restart":
            return cluster.do(event)
        case _:
            raise AssertionError(event)


async def play(events: list[tuple[str, int]]) -> None:
    cluster = Cluster()
    async with cluster.running():
        for event, number in events:
            if event == "wait":
                await asyncio.sleep(number)
            elif event in ("break", "mend"):
                cluster.broken = event == "break"
            else:
                cluster.begin(work(cluster, event, number))
        await cluster.settle()
        assert cluster.numbers == list(range(1, cluster.asked + 1))
        assert not [r.name for r in cluster.product.replicas() if r.paused]


# The restoring fails at first, as the replica that stays has none that is ready beside it.
@example([("for now", 3), ("wait", 10), ("break", 0), ("restart", 0), ("restore", 0), ("wait", 60)])
# A number that is refused ends no lease.
@example([("for now", 3), ("wait", 10), ("for good", 60)])
# A replica that hangs keeps another one from leaving, which the user is told.
@example([("for good", 1), ("break", 0), ("wait", 10), ("pause", 1)])
# The replica that hangs is another one than at first.
@example(
    [("pause", 2), ("wait", 1), ("for good", 1), ("wait", 10), ("for good", 2), ("wait", 2), ("pause", 2)]
)
@given(st.lists(EVENTS, max_size=15))
def test_at_the_end_there_is_what_the_user_has_asked_for(events: list[tuple[str, int]]) -> None:
    run_in_virtual_time(play(events))
