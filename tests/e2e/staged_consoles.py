"""The stage's consoles: one with all that a console can show, and those that can show little or nothing."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp

from bench.simulated import SHOP, SimulatedMesh
from grpcmesh.admin.access import Access
from grpcmesh.clock import monotonic
from grpcmesh.config import AdminConfig
from local.errors import ClusterError
from meshmart.console import panel
from meshmart.console.accounts import Account
from meshmart.console.action_log import ActionLog
from meshmart.console.admins import Admins
from meshmart.console.experiments.program import Program
from meshmart.console.experiments.routes import routes as experiment_routes
from meshmart.console.experiments.runner import Runner
from meshmart.console.hub import Hub
from meshmart.console.login import login_routes
from meshmart.console.origins import Origins
from meshmart.console.poller import Poller
from meshmart.console.reads import Reads
from meshmart.console.records import Records
from meshmart.console.schedule import Budget
from meshmart.console.switches.assembly import switches
from meshmart.console.switches.routes import switch_routes
from meshmart.console.web import console_app
from meshmart.leases import Leases
from meshmart.tour.check import Check, Outcome

LOCAL = AdminConfig(address="127.0.0.1:0")
_ANYBODY = Access(LOCAL)
#: Stands in for the process that plays experiments.
_PLAYER = (sys.executable, "-m", "tests.unit.meshmart.console.stub_verb")


class ShopCluster(SimulatedMesh):
    """The shop as a cluster whose replicas are only admin ports. What is done to it has no effect on them."""

    def __init__(self) -> None:
        super().__init__(SHOP, 3)
        self.leases = Leases(lambda _: None)
        self.beside: dict[str, str] = {}
        """The addresses of the servers beside the services."""

    async def status(self) -> dict[str, Any]:
        return await super().status() | self.beside

    async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]:
        head = {"ts": "2026-11-29T12:00:00.000Z", "replica": f"{service}-{replica}"}
        return [
            json.dumps(head | {"level": "INFO", "msg": "ready", "port": 50051}),
            json.dumps(
                head | {"level": "WARNING", "msg": "slow call", "seconds": 1.25, "trace_id": f"{1:032x}"}
            ),
            json.dumps(head | {"level": "ERROR", "msg": "the payment was refused", "order": 7}),
        ]

    async def endpoints(self, service: str) -> list[Any]:
        return []

    async def pause(self, service: str, replica: int) -> None: ...

    async def resume(self, service: str, replica: int) -> None: ...

    async def restore(self, service: str) -> None: ...


class DemoAccounts:
    """The demo's users: alice is an admin, bob is not."""

    async def log_in(self, name: str, password: str) -> Account | None:
        known = name in ("alice", "bob") and password == f"{name}-password"
        return Account(name, name == "alice", name) if known else None

    async def renew(self, secret: str) -> str | None:
        return secret

    async def log_out(self, secret: str) -> None: ...


class Unread:
    """A cluster whose status is to be had `answers` times."""

    def __init__(self, cluster: ShopCluster, answers: int) -> None:
        self._cluster, self._left = cluster, answers

    async def status(self) -> dict[str, Any]:
        if not self._left:
            raise ClusterError("the supervisor does not answer: connection refused")
        self._left -= 1
        return await self._cluster.status()


@asynccontextmanager
async def consoles(
    cluster: ShopCluster, closing: asyncio.Event, serve: Callable[[ASGIApp], Awaitable[str]]
) -> AsyncIterator[Mapping[str, str]]:
    """Yield the URLs of the consoles by name.

    Args:
        cluster: What they show.
        closing: Set before the block ends.
        serve: Serves an application until the stage ends, and returns its URL.
    """
    admins = Admins(DemoAccounts(), Origins(""))
    async with (
        _polled(cluster) as poller,
        _polled(Unread(cluster, 0)) as unread,
        _polled(Unread(cluster, 1)) as lost,
        _routes(cluster, poller, admins) as routes,
    ):
        unread.more = lost.more = poller.more
        silent = Hub()
        silent.publish(await _living(poller))

        async def served(of: Poller, hub: Hub, access: Access | Admins = _ANYBODY) -> str:
            return await serve(console_app(hub, of.history, access, closing, routes))

        yield {
            "console": await served(poller, poller.hub),
            "gate": await served(poller, poller.hub, admins),
            "unread": await served(unread, unread.hub),
            "lost": await served(lost, lost.hub),
            "silent": await served(poller, silent),
        }


@asynccontextmanager
async def _polled(cluster: Any) -> AsyncIterator[Poller]:
    poller = Poller(cluster, Budget(), monotonic, time.time)
    polling = asyncio.create_task(poller.run())
    try:
        yield poller
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)


async def _living(poller: Poller) -> bytes:
    """Return the first frame with calls."""
    with poller.hub.viewer() as viewer:
        while b'"rate"' not in poller.hub.frame:
            await viewer.next()
    return poller.hub.frame


@asynccontextmanager
async def _routes(cluster: ShopCluster, poller: Poller, admins: Admins) -> AsyncIterator[list[Route]]:
    """Yield the routes that `meshmart.console.server` has beyond those of the map."""

    async def member() -> Any:
        raise ClusterError("nobody can join a mesh that is only simulated")

    async with AsyncExitStack() as stack:
        state = Path(stack.enter_context(TemporaryDirectory()))
        records = Records(ActionLog(state), poller.tell, time.time)
        whole: Any = cluster
        runner = await stack.enter_async_context(
            switches(whole, member, records, lambda: poller.observer.services, state, monotonic)
        )
        start: Any = partial(Program.start, program=_PLAYER)
        experiments = Runner(_VERBS, os.environ, time.time, monotonic, records, start)
        await stack.enter_async_context(aclosing(experiments))
        poller.more = lambda: {"switches": runner.told(), "experiments": experiments.version}
        yield [
            *login_routes(admins, records),
            *records.routes(),
            *switch_routes(admins, runner),
            *panel.routes(poller, whole, Reads(monotonic)),
            *experiment_routes(experiments, admins, {}),
        ]


def _plays(scene: str, *checks: Check) -> tuple[str, str]:
    return "play", json.dumps(Outcome(scene, checks, seconds=12.4).as_dict())


#: What the experiments do here, and measure. The first one runs until it is stopped.
_VERBS: Mapping[str, Sequence[str]] = {
    "sick-replica": ("hang",),
    "kill": _plays(
        "kill",
        Check("failed reads of 900", 0, 0, relation="=="),
        Check("calls retried on another replica", 4, 1, relation=">="),
        Check("until no call is disturbed any more", 0.05, 1.0, " s"),
    ),
    "retry-storm": _plays(
        "retry-storm",
        Check("extra load of 800 reads by retries", 412, 160),
        Check("reads that failed", 800, 0, relation=">="),
        Check("until no read fails after the outage", 0.4, 1.0, " s"),
    ),
    "balance": _plays("balance", Check("largest share by the smallest", 1.01, 1.05)),
    "overload": _plays("overload", Check("goodput of the peak", 0.71, 0.9, relation=">=")),
}
