"""Upgrades a shop from another release to this one under load, and takes it back; counts what fails.

    git worktree add /tmp/before a8def03
    python bench/skew.py /tmp/before [--python P] [--kill] [--up-only] [--postgres] [--rps 4] [--visitors 2]
                         [--buyers 2] [--seed N] [--state-dir DIR]

It starts the other release's shop, two replicas of each service, on SQLite, on a PostgreSQL of its own
(--postgres), or on MESHMART_DATABASE_URL. Under
load it runs this release's migrations, then replaces the services one after another, in random order, replica
by replica, each drained; then back in another order. The load: visitors of the storefront who log in, order,
and follow the order on its page; buyers who order and repeat an order until it is answered; and the load
generator's `mix`. With --kill the replicas of `order` and `payment` are killed instead of drained, so that a
replica of the other release resumes their sagas; calls of the mix, which nobody repeats, may then fail.

Afterwards `meshmart audit` of this release checks the books. It exits with 1 if a journey failed, an accepted
order is not in the books exactly once, or the books do not add up, and says so if the machine gave it too
little CPU to tell. docs/operations.md says what the two steps
of a release without audiences per service are: they are done here, too.
"""

import argparse
import asyncio
import os
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from skew_shop import MixedSupervisor, Release, running
from skew_visitor import Visitor, Visits

from grpcmesh.member import Member
from local.catalog import SHOP
from local.options import Options
from meshmart.audit import audited, show
from meshmart.chaos import OrderRun
from meshmart.operator import join
from meshmart.tour.starvation import watched
from services.loadgen.engine import Load
from services.loadgen.journeys import SCENARIOS
from services.loadgen.persistent import PersistentBuyer, random_cart
from services.loadgen.report import Report
from services.loadgen.shop import Shop
from tests.postgres import binaries, throwaway

_OWN = Path(__file__).resolve().parents[1]
#: Seconds under load before the upgrade, between the two ways, and after both.
CALM = 10.0
#: Seconds that the books may take to settle.
SETTLE = 120.0
#: How the keys of orders begin. `meshmart.books.read` returns only orders whose keys begin with `chaos-`.
KEYS = "chaos-skew-"
#: Seconds between two orders of a buyer.
PAUSE = 0.5
#: The services whose replicas --kill kills: those whose sagas another replica resumes.
KILLED = ("order", "payment")
#: The new storefront passes visitors' own tokens on while replicas of the other release remain
#: (docs/operations.md, "Old and new replicas side by side").
ALONGSIDE = {"storefront": {"MESHMART_NARROW_TOKENS": "false"}}


@dataclass
class Outcome:
    """What the load saw."""

    visits: Visits = field(default_factory=Visits)
    orders: OrderRun = field(default_factory=lambda: OrderRun(0, started=time.monotonic()))
    mix: Report = field(default_factory=Report)


@asynccontextmanager
async def load(
    member: Member, addresses: Callable[[], list[str]], options: argparse.Namespace, rng: random.Random
) -> AsyncIterator[Outcome]:
    """Run the load until the end of the block; what is under way then is finished."""
    outcome, over = Outcome(), asyncio.Event()
    shop = Shop(member.channel, random.Random(rng.random()))

    async def visit() -> None:
        while not over.is_set():
            await Visitor(addresses, outcome.visits, random.Random(rng.random())).visit()

    async def buy(number: int) -> None:
        session = shop.buyers[number % len(shop.buyers)]
        buyer = PersistentBuyer(shop, session, looks=number % 2 == 1)
        while not over.is_set():
            outcome.orders.asked.append(await buyer.order(f"{KEYS}{uuid.uuid4().hex}", random_cart(shop.rng)))
            await asyncio.sleep(PAUSE)

    mix = Load(await SCENARIOS["mix"](member.channel), options.rps, report=outcome.mix, finish=30)
    async with asyncio.TaskGroup() as group:
        for _ in range(options.visitors):
            group.create_task(visit())
        for number in range(options.buyers):
            group.create_task(buy(number))
        try:
            async with mix:
                yield outcome
        finally:
            over.set()
    outcome.orders.wanted, outcome.orders.ended = len(outcome.orders.asked), time.monotonic()


class Ways:
    """The upgrade and the way back, replica by replica.

    Args:
        shop: The running shop.
        before: The release that it began with.
        after: The other one.
        killed: The services whose replicas are killed.
        rng: Chooses the order of the services.
    """

    def __init__(
        self,
        shop: MixedSupervisor,
        before: Release,
        after: Release,
        killed: tuple[str, ...],
        rng: random.Random,
    ) -> None:
        self._shop, self._before, self._after, self._killed, self._rng = shop, before, after, killed, rng
        self._began = time.monotonic()

    async def upgrade(self) -> None:
        self._shop.set_policy(self._after, self._after.policy)
        self._say("migrations of the new release")
        await self._shop.migrate(self._after)
        self._shop.settings |= ALONGSIDE
        await self._all(self._after, self._before)
        self._shop.settings |= {service: {} for service in ALONGSIDE}
        await self._replace("storefront", self._after)

    async def back(self) -> None:
        self._shop.settings |= ALONGSIDE
        await self._replace("storefront", self._after)
        self._shop.set_policy(self._before, self._before.policy)
        await self._all(self._before, self._after)

    async def _all(self, to: Release, leaving: Release) -> None:
        """Replace every service. Half-way the replicas that are left get the policy of the other release."""
        services = [name for name, spec in SHOP.items() if spec.replicas]
        self._rng.shuffle(services)
        for n, service in enumerate(services):
            if n == len(services) // 2:
                self._say(f"the replicas of {leaving.name} read the policy of {to.name}")
                self._shop.set_policy(leaving, to.policy)
            await self._replace(service, to)

    async def _replace(self, service: str, to: Release) -> None:
        how = self._shop.replace_by_kill if service in self._killed else self._shop.replace
        self._say(f"{service}: {to.name}")
        await how(service, to, lambda _: None)

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {time.strftime('%H:%M:%S')}  {text}", flush=True)


def failures(outcome: Outcome, strict: bool) -> list[str]:
    """Return a line for each kind of failure. Unless `strict`, calls of the mix may fail."""
    found = Counter(f"visit: {line}" for line in outcome.visits.failed)
    found += Counter(
        f"order: {a.answer}" for a in outcome.orders.asked if not a.accepted and not _sold_out(a)
    )
    if strict:
        found += Counter(
            f"call: {s.target}/{s.method} {s.code} at {s.endpoint}"
            for s in outcome.mix.samples
            if s.code not in ("OK", "FAILED_PRECONDITION")  # the latter: a product was sold out
        )
    return [f"{count} x {line}" for line, count in found.most_common()]


def _sold_out(asked: object) -> bool:
    return str(getattr(asked, "answer", "")).startswith("FAILED_PRECONDITION")


def tell(outcome: Outcome) -> None:
    """Print the figures of the load."""
    visits, orders, mix = outcome.visits, outcome.orders, outcome.mix
    print(
        f"\n{visits.done} visits, {sum(visits.pages.values())} pages and streams, "
        f"{len(visits.failed)} failed, {visits.sold_out} sold out"
    )
    for page, count in sorted(visits.pages.items()):
        print(f"       {count:6} {page}")
    again = sum(a.attempts > 1 for a in orders.asked)
    print(f"{len(orders.asked)} orders, {len(orders.accepted)} confirmed, {again} of them asked for again")
    print(f"{len(mix.samples)} calls of the mix: {dict(mix.codes())}")


async def run(options: argparse.Namespace, directory: Path) -> bool:
    """Go both ways and print what happens. Return whether all is well."""
    rng = random.Random(options.seed)
    before, after = Release("before", options.before, options.python), Release("after", _OWN, sys.executable)
    environ = {"MESHMART_LOOPBACK": f"127.{rng.randrange(100, 250)}", **os.environ}
    supervisor = MixedSupervisor(before, Options(directory, port=0), environ)
    async with running(supervisor), join(directory) as joined:
        ways = Ways(supervisor, before, after, KILLED if options.kill else (), rng)
        async with (
            watched() as watch,
            load(joined.member, supervisor.web_addresses, options, rng) as outcome,
        ):
            await asyncio.sleep(CALM)
            await ways.upgrade()
            await asyncio.sleep(CALM)
            if not options.up_only:
                await ways.back()
                await asyncio.sleep(CALM)
        verdict, books = await audited(directory / "data", os.environ, SETTLE)
    tell(outcome)
    show(verdict)
    wrong = failures(outcome, not options.kill) + outcome.orders.astray(books)
    for line in wrong[:40]:
        print(f"FAILED {line}")
    if wrong and watch.verdict:
        print(f"NOT MEASURED: {watch.verdict}. This process is also the cluster's DNS.")
    # Reservations of the other release enter the ledger when this one runs again: unfinished, but balanced.
    return verdict.balanced and not wrong


def _directory(text: str) -> Path:
    return Path(text).resolve()


def main() -> int:
    """Run the benchmark, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=_directory, help="work tree of the other release")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the other release")
    parser.add_argument("--kill", action="store_true", help=f"kill the replicas of {' and '.join(KILLED)}")
    parser.add_argument("--up-only", action="store_true", help="do not go back")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL of its own, not on SQLite")
    parser.add_argument("--rps", type=float, default=4, help="arrivals of the mix per second")
    parser.add_argument("--visitors", type=int, default=2, help="visitors at a time")
    parser.add_argument("--buyers", type=int, default=2, help="orders in flight of buyers who repeat them")
    parser.add_argument("--state-dir", type=_directory, help="a new directory that stays, with the logs")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with ExitStack() as stack:
        if options.postgres:
            os.environ["MESHMART_DATABASE_URL"] = stack.enter_context(_database())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="meshmart-skew-"))
        return 0 if asyncio.run(run(options, options.state_dir or Path(directory))) else 1


@contextmanager
def _database() -> Iterator[str]:
    """Run a PostgreSQL, and yield its URL. Raises SystemExit if it is not installed."""
    programs = binaries()
    if programs is None:
        sys.exit(
            "skew: PostgreSQL is not installed (no pg_ctl and initdb); on Debian: apt install postgresql"
        )
    with throwaway(programs) as server:
        yield server.url("postgres")


if __name__ == "__main__":
    sys.exit(main())
