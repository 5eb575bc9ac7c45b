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

from skew_cluster import KILLED, Mixed, storefronts
from skew_visitor import Visitor, Visits

from grpcmesh.member import Member
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

_CLUSTER = Path(__file__).with_name("skew_cluster.py")
#: Seconds under load before the upgrade, between the two ways, and after both.
CALM = 10.0
#: The most visits before the load that nobody counts.
WARM_UPS = 10
#: Seconds that the books may take to settle.
SETTLE = 120.0
#: How the keys of orders begin. `meshmart.books.read` returns only orders whose keys begin with `chaos-`.
KEYS = "chaos-skew-"
#: Seconds between two orders of a buyer.
PAUSE = 0.5


@dataclass
class Outcome:
    """What the load saw."""

    visits: Visits = field(default_factory=Visits)
    orders: OrderRun = field(default_factory=lambda: OrderRun(0, started=time.monotonic()))
    mix: Report = field(default_factory=Report)


async def warm_up(addresses: Callable[[], list[str]], rng: random.Random) -> None:
    """Make visits until one succeeds, at most `WARM_UPS`. On a busy machine the first log-ins end late."""
    for _ in range(WARM_UPS):
        visits = Visits()
        await Visitor(addresses, visits, rng).visit()
        if not visits.failed:
            return


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
    command = [sys.executable, str(_CLUSTER), str(options.before), options.python, str(directory)]
    command += [str(options.seed), *(KILLED if options.kill else ())]
    async with Mixed(command) as shop, join(directory) as joined:
        await warm_up(lambda: storefronts(directory), rng)
        async with (
            watched() as watch,
            load(joined.member, lambda: storefronts(directory), options, rng) as outcome,
        ):
            await asyncio.sleep(CALM)
            await shop.do("upgrade")
            await asyncio.sleep(CALM)
            if not options.up_only:
                await shop.do("back")
                await asyncio.sleep(CALM)
        verdict, books = await audited(directory / "data", os.environ, SETTLE)
    tell(outcome)
    show(verdict)
    wrong = failures(outcome, not options.kill) + outcome.orders.astray(books)
    for line in wrong[:40]:
        print(f"FAILED {line}")
    if wrong and watch.verdict:
        print(f"NOT MEASURED: {watch.verdict}")
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
