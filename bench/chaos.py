"""Places orders while random replicas of every service are killed, and checks the books afterwards.

    python bench/chaos.py [--orders 2000] [--kill-every 2] [--act-every 0.2] [--workers 6] [--seed N]
                          [--break-book RULE] [--state-dir DIR]

Meanwhile an admin refunds, ships and cancels orders, edits products, changes prices, and receives and
corrects stock (bench/backoffice.py). Half of the buyers send the total that they were shown.

Without --state-dir it starts a shop of its own, on SQLite or on MESHMART_DATABASE_URL, and stops it at the
end. It exits with 1 if an accepted order is lost, doubled or charged another total than was shown, if a
confirmed refund is missing on its order, or if the books do not add up. With --break-book it breaks a rule of
the audit (docs/orders.md) in the books after the run, and exits with 1 unless the audit names that rule and
no other.
"""

import argparse
import asyncio
import contextlib
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from backoffice import BackOffice
from broken_books import WAYS, break_books

from meshmart.audit import audited, settled, show
from meshmart.books.read import reading
from meshmart.chaos import Killer, OrderRun, order_many, victims
from meshmart.embedded import EmbeddedCluster
from meshmart.operator import join
from services.loadgen.shop import Shop

#: Seconds that the books may take to settle after the last kill.
SETTLE = 120.0


@contextlib.contextmanager
def running(state_dir: Path | None) -> Iterator[Path]:
    """Yield the state directory of a running cluster: the given one, or a new one that is removed at
    the end.
    """
    if state_dir is not None:
        yield state_dir
        return
    with tempfile.TemporaryDirectory(prefix="meshmart-chaos-") as directory, socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()
        environ = {"MESHMART_LOOPBACK": f"127.{random.randrange(100, 250)}", **os.environ}
        command = [sys.executable, "-m", "meshmart"]
        own = ["--state-dir", directory]
        try:
            subprocess.run([*command, "up", "--detach", "--port", str(port), *own], check=True, env=environ)
            yield Path(directory)
        finally:
            subprocess.run([*command, "down", *own], check=False, stderr=subprocess.DEVNULL)


@dataclass(frozen=True)
class Plan:
    """The settings of a run. Seconds between two kills and between two acts are averages; 0 means none."""

    orders: int
    kill_every: float
    act_every: float
    workers: int
    seed: int
    break_book: str


async def run(state_dir: Path, plan: Plan) -> bool:
    """Run the plan and print what happens. Return whether all is well."""
    cluster, rng = EmbeddedCluster(state_dir), random.Random(plan.seed)
    killer = Killer(cluster, await victims(cluster), plan.kill_every or 1e9, rng)
    async with join(state_dir) as joined, killer:
        channels = joined.member.channel
        shops = [Shop(channels, random.Random(rng.random())) for _ in "ab"]
        admin = next(session for session in shops[0].buyers if session.name == "alice")
        office = BackOffice(channels, shops[0], admin, random.Random(rng.random()), plan.act_every or 1e9)
        async with office:
            runs = await _order_runs(shops, plan, killer, office)
    verdict, books = await audited(state_dir / "data", os.environ, SETTLE)
    for run, kind in zip(runs, ("without", "with"), strict=True):
        print(f"\nbuyers {kind} a look at prices:", end="")
        tell(run)
    tell_kills(killer, office)
    show(verdict)
    astray = [line for run in runs for line in run.astray(books)]
    astray += await lost_refunds(state_dir / "data", office)
    for line in astray[:20]:
        print(f"ASTRAY {line}")
    well = verdict.settled and not astray and all(len(s.accepted) == s.wanted for s in runs)
    return well and (not plan.break_book or await found_broken(state_dir / "data", plan.break_book))


async def _order_runs(
    shops: Sequence[Shop], plan: Plan, killer: Killer, office: BackOffice
) -> Sequence[OrderRun]:
    """Place half of the orders by buyers who look at prices, and half by buyers who do not."""
    shown = time.monotonic()
    begun: dict[int, OrderRun] = {}

    def progress(run: OrderRun) -> None:
        nonlocal shown
        begun[id(run)] = run
        office.sold(run.asked[-1])
        now, asked = time.monotonic(), [a for each in begun.values() for a in each.asked]
        if now - shown >= 5 or len(asked) == plan.orders:
            shown = now
            retried = sum(a.attempts > 1 for a in asked)
            answered = f"{len(asked)} of {plan.orders} orders answered, {retried} of them asked again"
            done = f"{killer.kills.total()} kills, {office.acts.total()} acts"
            print(f"{now - run.started:5.0f} s: {answered}, {done}", flush=True)

    counts = (plan.orders - plan.orders // 2, plan.orders // 2)
    workers = max(1, plan.workers // 2)
    return await asyncio.gather(
        *(
            order_many(shop, count, workers=workers, looks=looks, progress=progress)
            for shop, count, looks in zip(shops, counts, (False, True), strict=True)
        )
    )


async def lost_refunds(data: Path, office: BackOffice) -> list[str]:
    """Return a line for each confirmed refund that is missing on its order."""
    statement = sa.text('SELECT id, refunded FROM "order".orders WHERE refunded > 0')
    known = await reading(
        data, os.environ, lambda c, _: {row.id: row.refunded for row in c.execute(statement)}
    )
    return [
        f"order {order}: {cents} cents were given back, it knows of {known.get(order, 0)}"
        for order, cents in office.repaid.items()
        if known.get(order, 0) < cents
    ]


async def found_broken(data: Path, rule: str) -> bool:
    """Break a rule in the books. Return whether the audit names it and no other."""
    print(f"\nnow the books are broken: {rule}")
    await break_books(data, rule)
    verdict = await settled(data, os.environ)
    show(verdict)
    return set(verdict.broken) == {rule}


def tell(run: OrderRun) -> None:
    """Print the figures of the orders."""
    if not run.asked:
        return
    seconds = sorted(a.seconds for a in run.asked)
    p50, p99 = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
    print(f" {run.wanted} orders in {run.seconds:.0f} s ({run.wanted / run.seconds:.1f}/s)")
    changed = sum(a.changed > 0 for a in run.asked)
    print(
        f"accepted {len(run.accepted)}, {changed} after a new total; "
        f"until the answer p50 {p50:.2f} s, p99 {p99:.2f} s"
    )
    for asked in [a for a in run.asked if not a.accepted][:10]:
        print(f"not accepted: {asked.answer}")


def tell_kills(killer: Killer, office: BackOffice) -> None:
    """Print the figures of kills and acts."""
    kills = ", ".join(f"{service} {count}" for service, count in killer.kills.most_common())
    print(f"\n{killer.kills.total()} kills: {kills}")
    print(f"{office.acts.total()} acts of the back office:")
    for act in sorted({act for act, _ in office.acts}):
        outcomes = [(code, n) for (name, code), n in office.acts.most_common() if name == act]
        print(f"  {act}: " + ", ".join(f"{n} {code}" for code, n in outcomes))
    print()


def main() -> int:
    """Run the benchmark, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--kill-every", type=float, default=2.0, help="average seconds between two kills")
    parser.add_argument(
        "--act-every", type=float, default=0.2, help="average seconds between two admin actions; 0: none"
    )
    parser.add_argument("--workers", type=int, default=6, help="orders in flight")
    parser.add_argument("--break-book", choices=sorted(WAYS), default="", metavar="RULE")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--state-dir", type=Path, help="state directory of a running cluster")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    values = vars(options)
    with running(values.pop("state_dir")) as state_dir:
        return 0 if asyncio.run(run(state_dir, Plan(**values))) else 1


if __name__ == "__main__":
    sys.exit(main())
