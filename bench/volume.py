"""What the shop's reads take at volume, on SQLite and PostgreSQL.

    PYTHONPATH=. nice -n 10 python bench/volume.py [--scale 0.1] [--rounds 5]

Makes 100,000 products, 1,000,000 orders, 300,000 waiting events and 3,000,000 figures, times --scale, the
same each time, in a directory of its own and in a PostgreSQL of its own; then prints the median milliseconds
of each read over the rounds. For before and after, run it in two checkouts: it speaks to the stores alone.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from inspect import signature
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.analytics.storage import SqlStore as Figures
from services.kit import outbox, paging
from services.kit.db import Database
from services.kit.migrate import migrate
from services.kit.paging import Page
from services.order.domain import Status
from services.order.storage import SqlStore as Orders
from services.product.domain import Category, Criteria, Draft, Wish
from services.product.storage import SqlProducts, row_of
from services.product.tables import product
from tests.postgres import binaries, throwaway

PRODUCTS, ORDERS, EVENTS, FIGURES = 100_000, 1_000_000, 300_000, 3_000_000
NOW = 1_767_225_600
#: Rows of one statement.
_PIECE, _MADE = 5_000, 50_000
_WORDS = ("laptop", "lamp", "chair", "novel", "shirt", "tent", "kettle", "mirror", "racket", "speaker")
Rows = Iterator[Mapping[str, Any]]


def _products(rng: random.Random, number: int) -> Rows:
    for n in range(number):
        name = f"{rng.choice(_WORDS).title()} {rng.choice(_WORDS)} {n}"
        about = " ".join(rng.choices(_WORDS, k=20))
        draft = Draft(name, about, rng.randint(100, 100_000), 5, Category(1 + n % 5), (rng.choice(_WORDS),))
        yield row_of(draft, NOW) | {"created_at": NOW}


#: The others are made by the database itself, which is ten times as fast: `n` is the row's number, from 1.
_ORDERS = f"""
    INSERT INTO orders (user_id, status, step, total, payment_id, "key", on_file, address, attempts, version,
                        lease_until, created_at, updated_at)
    SELECT 1 + (n * 19) % 10000, CASE WHEN n % 20000 = 0 THEN 'REFUNDED' ELSE 'DELIVERED' END, 'DONE',
           100, 1, 'k' || n, FALSE, '{{}}', 0, 3, 0, {NOW} + n, {NOW} + n FROM numbers
"""
_EVENTS = f"""
    INSERT INTO outbox (topic, "key", event_id, payload, created_at, due, attempts)
    SELECT 'analytics', 'order-' || n, 'order-' || n || '-1', '{{}}', {NOW}, {NOW}, 0 FROM numbers
"""
#: A hundred figures each minute: of 50 products their units and revenue, and three of the shop.
_FIGURES = f"""
    INSERT INTO metrics (name, minute, product_id, value, "cursor")
    SELECT CASE WHEN n % 100 = 0 THEN 'orders' WHEN n % 100 = 1 THEN 'revenue'
                WHEN n % 100 = 2 THEN 'product_views' WHEN n % 2 = 0 THEN 'product_units'
                ELSE 'product_revenue' END,
           {NOW} - 60 * (n / 100), CASE WHEN n % 100 < 3 THEN 0 ELSE (n % 100) / 2 + 1 END, 1, n FROM numbers
"""


async def _make(db: Database, insert: str, number: int) -> None:
    # On PostgreSQL a literal is text until it is told otherwise.
    statement = insert if db.is_sqlite else insert.replace("'{}'", "'{}'::json")
    for start in range(1, number + 1, _MADE):
        numbers = (
            f"WITH RECURSIVE numbers(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM numbers WHERE n < "
        )
        numbers += f"{min(start + _MADE - 1, number)})"
        head, _, select = statement.partition("SELECT")
        whole = f"{head} {numbers} SELECT {select}"
        await db.write(lambda c, whole=whole: c.exec_driver_sql(whole))  # type: ignore[misc]


async def _fill(db: Database, table: sa.Table, rows: Rows) -> None:
    piece: list[Mapping[str, Any]] = []
    for row in rows:
        piece.append(row)
        if len(piece) == _PIECE:
            await db.write(lambda c, piece=piece: c.execute(sa.insert(table), piece))  # type: ignore[misc]
            piece = []
    if piece:
        await db.write(lambda c: c.execute(sa.insert(table), piece))


async def _all(store: SqlProducts, query: str) -> None:
    async for _ in store.search(Criteria(query, Category.UNSPECIFIED, 0, 0)):
        pass


def _reads(dbs: Mapping[str, Database]) -> dict[str, Callable[[], Awaitable[object]]]:
    catalogue, shop, figures = SqlProducts(dbs["product"]), Orders(dbs["order"]), Figures(dbs["analytics"])
    queue = outbox.SqlQueue(dbs["order"])
    # On a8def03 the count has no argument.
    topics = (("notification", "analytics"),) if signature(queue.waiting).parameters else ()
    return {
        "search, no match": lambda: _all(catalogue, "quetzalcoatl"),
        "search, two characters, no match": lambda: _all(catalogue, "zq"),
        "search, 'laptop', the whole stream": lambda: _all(catalogue, "laptop"),
        "assistant": lambda: catalogue.candidates(Wish(stems=("laptop", "lamp")), 200),
        "assistant, no match": lambda: catalogue.candidates(Wish(stems=("quetzal",)), 200),
        "orders by a rare status": lambda: shop.page(0, Status.REFUNDED, *_first(20)),
        "dashboard, 60 minutes": lambda: figures.dashboard(NOW - 3600, NOW + 60, 10),
        "count of the outbox": lambda: queue.waiting(*topics),
    }


def _first(limit: int) -> tuple[Any, ...]:
    """The first page. On a8def03 it is a limit and an offset."""
    return (Page(limit),) if hasattr(paging, "Slice") else (limit, 0)


async def measure(url: Callable[[str], str], scale: float, rounds: int) -> None:
    """Prints a line for each read of one database."""
    rng, dbs = random.Random(1), dict[str, Database]()
    async with AsyncExitStack() as stack:
        for service in ("product", "order", "analytics"):
            await migrate(url(service), service, seed=False)
            db = Database.open(url(service), service, lock_timeout=60)
            dbs[service] = await stack.enter_async_context(db)
        started = time.perf_counter()
        await _fill(dbs["product"], product, _products(rng, round(PRODUCTS * scale)))
        await _make(dbs["order"], _ORDERS, round(ORDERS * scale))
        await _make(dbs["order"], _EVENTS, round(EVENTS * scale))
        await _make(dbs["analytics"], _FIGURES, round(FIGURES * scale))
        for db in dbs.values():
            await db.write(lambda c: c.execute(sa.text("ANALYZE")))
        print(f"  made in {time.perf_counter() - started:.0f} s")
        for name, read in _reads(dbs).items():
            print(f"  {name:<36} {await _median(read, rounds):9.1f} ms", flush=True)
        total, longest = await _retention(dbs["analytics"])
        print(f"  retention of all figures: {total:.0f} s, its longest transaction {1000 * longest:.0f} ms")


async def _retention(db: Database) -> tuple[float, float]:
    """Seconds that dropping every figure takes, and the longest of its transactions."""
    write, took = db.write, list[float]()

    async def timed(work: Any) -> Any:
        started = time.perf_counter()
        try:
            return await write(work)
        finally:
            took.append(time.perf_counter() - started)

    db.write = timed  # type: ignore[method-assign]
    await Figures(db).forget(NOW + 60)
    return sum(took), max(took)


async def _median(read: Callable[[], Awaitable[object]], rounds: int) -> float:
    await read()
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        await read()
        took.append(1000 * (time.perf_counter() - started))
    return statistics.median(took)


def main() -> None:
    """Measures both databases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=0.1, help="of the full volume (default: 0.1)")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="meshmart-volume-"))
        print(f"sqlite, scale {asked.scale:g}")
        asyncio.run(measure(lambda s: f"sqlite:///{Path(directory) / s}.db", asked.scale, asked.rounds))
        programs = binaries()
        if programs is None:
            sys.exit("PostgreSQL is not installed: not measured")
        server = stack.enter_context(throwaway(programs))
        print(f"postgresql, scale {asked.scale:g}")
        asyncio.run(measure(lambda _: server.url("postgres"), asked.scale, asked.rounds))


if __name__ == "__main__":
    main()
