"""The console as a process of its own: polls the mesh and serves the page until it is told to stop."""

import asyncio
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from pathlib import Path

from starlette.routing import Route

from grpcmesh.admin.access import Access
from grpcmesh.clock import monotonic
from grpcmesh.config import AdminConfig
from grpcmesh.http import HttpLimits, HttpServer
from meshmart.cluster import Cluster
from meshmart.console import panel
from meshmart.console.accounts import UserAccounts
from meshmart.console.action_log import ActionLog
from meshmart.console.admins import Admins
from meshmart.console.experiments.routes import elsewhere, verbs
from meshmart.console.experiments.routes import routes as experiment_routes
from meshmart.console.experiments.runner import Runner as Experiments
from meshmart.console.login import login_routes
from meshmart.console.membership import Membership, log_in_identity
from meshmart.console.model import Event, Kind
from meshmart.console.origins import Origins
from meshmart.console.poller import LINKS, Poller
from meshmart.console.reads import Reads
from meshmart.console.records import Records
from meshmart.console.schedule import Budget
from meshmart.console.switches.assembly import switches
from meshmart.console.switches.routes import switch_routes
from meshmart.console.web import console_app
from meshmart.running import VARIABLE, running
from meshmart.scrape import token_file
from services.kit.streaming import first_of

#: Seconds after which a viewer that does not read is disconnected.
_LIMITS = HttpLimits(write_timeout=20.0)
_RENEW_BEFORE = "MESHMART_CONSOLE_RENEW_BEFORE"


async def serve(
    address: str,
    state_dir: Path,
    budget: Budget | None = None,
    origin: str = "",
    login: bool = False,
    look_only: bool = False,
) -> None:
    """Run until SIGTERM or SIGINT.

    Args:
        address: `host:port` to listen on; port 0 takes a free one.
        state_dir: The state directory of the embedded cluster. The log of actions lies in it.
        budget: How much is read.
        origin: The console's origin behind a reverse proxy, such as `https://console.example.org`.
        login: Whether only admins who are logged in may see it. If not, the rules of the admin ports hold.
        look_only: Whether every action is refused, also an admin's.

    Raises:
        ValueError: `origin` is no origin, or a setting in the environment is invalid.
        OSError: the address cannot be listened on, or everybody could reach it without a token.
    """
    closing = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, closing.set)
    ports = None if login else Access(AdminConfig(address=address, token_file=token_file()))
    origins, progress = Origins(origin), Progress()
    async with running(state_dir, progress.say, watching=True) as cluster:
        servers = given_servers(os.environ)
        renew_before = given_renew_before(os.environ)
        poller = Poller(cluster, budget or Budget(), monotonic, time.time, _links(), servers, renew_before)
        progress.tell = poller.tell
        log = ActionLog(state_dir / "console", echo=_printed if login else None)
        async with Membership(cluster, log_in_identity(cluster)) as asking:
            admins = Admins(UserAccounts(asking.member), origins, may_change=not look_only)
            async with _routes(cluster, poller, admins, log, state_dir) as routes:
                app = console_app(poller.hub, poller.history, ports or admins, closing, routes)
                server = HttpServer(app, address, "console", _LIMITS)
                await server.start()
                try:
                    await first_of(poller.run(), closing.wait())
                finally:
                    closing.set()
                    await server.aclose()


class Progress:
    """Passes the cluster's lines about its operations to the feed, as soon as the feed exists."""

    def __init__(self) -> None:
        self.tell: Callable[[Event], None] | None = None

    def say(self, words: str) -> None:
        if self.tell:
            self.tell(Event(Kind.INFO, words, ""))


@contextlib.asynccontextmanager
async def _routes(
    cluster: Cluster, poller: Poller, admins: Admins, log: ActionLog, state_dir: Path
) -> AsyncIterator[Sequence[Route]]:
    """Yield the routes beyond those of the map. What they need ends with the block."""
    records = Records(log, poller.tell, time.time)

    def services() -> Collection[str]:
        return poller.observer.services

    async with (
        Membership(cluster) as operator,
        switches(cluster, operator.member, records, services, state_dir, monotonic) as runner,
        contextlib.aclosing(
            Experiments(verbs(), _environ(state_dir), time.time, monotonic, records)
        ) as experiments,
    ):
        poller.more = lambda: {"switches": runner.told(), "experiments": experiments.version}
        yield [
            *login_routes(admins, records),
            *records.routes(),
            *switch_routes(admins, runner),
            *panel.routes(poller, cluster, Reads(monotonic)),
            *experiment_routes(experiments, admins, elsewhere(os.environ)),
        ]


def _links() -> Mapping[str, str] | None:
    """Return the addresses of other pages from the environment; None if the cluster's status has them.

    The status of a cluster on Kubernetes has only addresses that pods can reach, not those for a browser.
    """
    if os.environ.get(VARIABLE) != "kubernetes":
        return None
    told = {name: os.environ.get(f"MESHMART_{name.upper()}_URL", "") for name in LINKS}
    return {name: url for name, url in told.items() if url}


def _printed(lines: bytes) -> None:
    """Print entries of the log of actions, so that the pod's log has them, too."""
    sys.stdout.write(lines.decode())
    sys.stdout.flush()


def _environ(state_dir: Path) -> Mapping[str, str]:
    """Return the environment of the command that plays experiments."""
    return {**os.environ, "MESHMART_STATE_DIR": str(state_dir)}


def given_renew_before(environ: Mapping[str, str]) -> float | None:
    """Return how long before their end certificates are renewed, in seconds; None if that is not known.

    Raises:
        ValueError: the environment does not have a positive number.
    """
    told = environ.get(_RENEW_BEFORE, "")
    if not told:
        return None
    try:
        seconds = float(told)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{_RENEW_BEFORE}={told!r} must be a positive number of seconds")
    return seconds


def given_servers(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the URLs of Prometheus and of the trace store that the environment names."""
    found = {name: environ.get(f"MESHMART_CONSOLE_{name.upper()}", "") for name in ("prometheus", "traces")}
    return {name: url for name, url in found.items() if url}
