"""Measures how many payments are settled per second on PostgreSQL, with 1, 4 and 16 at a time.

    PYTHONPATH=. nice -n 10 python bench/settlements.py [--payments 2000] [--readers 0]

Each of four stores, like those of four replicas, has its own connections to one temporary PostgreSQL. Its
files are in memory if there is room: on a disk a commit, and so a lock that is held until it, takes longer. A
settlement is one transaction: `SqlStore.finish`. With --readers, that many readers follow the payments
meanwhile. To compare before and after, run it in two checkouts.
"""

import argparse
import asyncio
import itertools
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import replace

from services.kit.db import Database
from services.kit.migrate import migrate
from services.payment.domain import Method, Outcome, Payment, Status
from services.payment.storage import SqlStore
from tests.postgres import binaries, throwaway

NOW = 1_767_225_600.0
REPLICAS, CONNECTIONS = 4, 6
_NEW = Payment(0, 1, 1, 100, Method.CREDIT_CARD, Status.PROCESSING, None, "t", "4242", NOW)
_DONE = Outcome(True, "txn", "approved")


async def _begun(store: SqlStore, number: int, tag: str) -> list[int]:
    ids: list[int] = []
    for start in range(0, number, 500):
        batch = [replace(_NEW, key=f"{tag}-{n}") for n in range(start, min(start + 500, number))]
        ids += [payment.id for payment in await store.begin_all(batch) or ()]
    return ids


async def _settle(stores: list[SqlStore], ids: list[int], width: int) -> float:
    """Settle the payments, `width` at a time, and return the seconds."""
    waiting = iter(ids)
    numbers = itertools.count()

    async def work() -> None:
        store = stores[next(numbers) % len(stores)]
        for payment_id in waiting:
            await store.finish(payment_id, _DONE, NOW)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(width)))
    return time.perf_counter() - started


async def _read(store: SqlStore) -> None:
    after = 0
    while True:
        for payment in await store.settled(after, 100):
            after = payment.cursor
        await asyncio.sleep(0.02)


async def measure(url: str, payments: int, readers: int) -> None:
    """Print a line for each number of settlements at a time."""
    await migrate(url, "payment", seed=False)
    async with AsyncExitStack() as stack:
        opened = [Database.open(url, "payment", lock_timeout=60) for _ in range(REPLICAS)]
        stores = [SqlStore(await stack.enter_async_context(db)) for db in opened]
        reading = [asyncio.create_task(_read(stores[n % REPLICAS])) for n in range(readers)]
        for width in (1, 4, 16):
            ids = await _begun(stores[0], payments, str(width))
            took = await _settle(stores, ids, width)
            print(f"  {width:>2} at a time {payments / took:8.0f} a second")
        for task in reading:
            task.cancel()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--payments", type=int, default=2000, help="payments per width")
    parser.add_argument("--readers", type=int, default=0)
    asked = parser.parse_args()
    programs = binaries()
    if programs is None:
        sys.exit("PostgreSQL is not installed")
    with throwaway(programs, ["fsync=on", "full_page_writes=on"]) as server:
        url = f"{server.url('postgres')}&pool_size={CONNECTIONS}"
        asyncio.run(measure(url, asked.payments, asked.readers))


if __name__ == "__main__":
    main()
