"""Measures `meshmart audit` for many orders, on SQLite and PostgreSQL: seconds, and peak memory.

    PYTHONPATH=. nice -n 10 python bench/audit.py [--orders 100000]

It creates books of that many confirmed orders that add up (payments, the acquirer's ledger, reservations,
stock, notifications), and audits them in a process of its own, like the toolbox, whose limit is 512 MiB.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from services.kit.db import Database, database_url
from services.kit.migrate import migrate
from tests.postgres import binaries, throwaway

#: The rows of one statement, and the number of products that are bought in turn.
_PIECE, _PRODUCTS = 50_000, 50
#: The statements that fill each service's tables; `n` is an order's number, from 1.
_BOOKS: Mapping[str, Sequence[str]] = {
    "order": (
        """
        INSERT INTO orders (id, user_id, status, step, total, payment_id, "key", on_file, address, attempts,
                            version, lease_until, created_at, updated_at, refunded, ship_told)
        SELECT n, 1 + n % 1000, 'CONFIRMED', 'DONE', 500, n, 'k' || n, TRUE, '{}', 0, 3, 0, 1, 3, 0, FALSE
        FROM numbers
        """,
        """
        INSERT INTO order_items (order_id, position, product_id, quantity, name, unit_price)
        SELECT n, 0, 1 + n % 50, 1, 'a', 500 FROM numbers
        """,
        """
        INSERT INTO order_events (order_id, "cursor", status, message, at, refunded)
        SELECT n, 1, 'PENDING', '', 1, 0 FROM numbers
        UNION ALL SELECT n, 3, 'CONFIRMED', '', 3, 0 FROM numbers
        """,
    ),
    "payment": (
        """
        INSERT INTO payments (id, user_id, order_id, amount, status, "key", token, last_four, transaction_id,
                              message, refunded, created_at, processed_at, "cursor")
        SELECT n, 1 + n % 1000, n, 500, 'COMPLETED', 'order/order-' || n, '', '', 't' || n, '', 0, 1, 2, n
        FROM numbers
        """,
        """
        INSERT INTO acquirer_ledger (reference, kind, amount, approved, transaction_id, message, created_at)
        SELECT 'payment-' || n, 'charge', 500, TRUE, 't' || n, '', 1 FROM numbers
        """,
    ),
    "product": (
        """
        INSERT INTO reservation ("key", released, created_at, entered)
        SELECT 'order-' || n, FALSE, 1, 'reserve' FROM numbers
        """,
        """
        INSERT INTO reservation_item ("key", position, product_id, quantity, name, price, category)
        SELECT 'order-' || n, 0, 1 + n % 50, 1, 'a', 500, 1 FROM numbers
        """,
        """
        INSERT INTO stock_movement (product_id, kind, stock_change, held_change, "key", note, user_id, at)
        SELECT 1 + n % 50, 'receive', 1, 0, NULL, '', 0, 1 FROM numbers
        UNION ALL SELECT 1 + n % 50, 'reserve', -1, 1, 'order-' || n, '', 0, 1 FROM numbers
        """,
    ),
    "notification": (
        """
        INSERT INTO users (id, "cursor") SELECT n, 1 FROM numbers
        """,
        """
        INSERT INTO notifications (user_id, "cursor", kind, title, body, event_id, created_at)
        SELECT n, 1, 'ORDER', 't', 'b', 'order-' || n || '-3', 3 FROM numbers
        """,
    ),
}


async def _fill(url: str, service: str, orders: int) -> None:
    await migrate(url, service)
    async with Database.open(url, service, lock_timeout=60, statement_timeout=300) as db:
        for statement in _BOOKS[service]:
            told = statement if db.is_sqlite else statement.replace("'{}'", "'{}'::json")
            head, _, rows = told.partition("SELECT")
            for start in range(1, orders + 1, _PIECE):
                end = min(start + _PIECE - 1, orders)
                numbers = f"WITH RECURSIVE numbers(n) AS (SELECT {start} UNION ALL SELECT n + 1 FROM numbers"
                whole = f"{head} {numbers} WHERE n < {end}) SELECT {rows}"
                await db.write(lambda c, whole=whole: c.exec_driver_sql(whole))  # type: ignore[misc]
        await db.write(lambda c: c.exec_driver_sql("ANALYZE"))


async def _make(environ: Mapping[str, str], orders: int) -> None:
    for service in _BOOKS:
        await _fill(database_url(service, environ), service, orders)


def _measure(environ: Mapping[str, str], directory: Path) -> str:
    """Run the audit in a process of its own, and return a line with its figures."""
    command = [sys.executable, "-m", "meshmart", "audit", "--state-dir", str(directory), "--json"]
    started = time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, **environ}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - started
    verdict = "add up" if process.returncode == 0 else told.decode()[:2000]
    cpu = usage.ru_utime + usage.ru_stime
    return f"{took:6.1f} s ({cpu:.1f} s of CPU here), {usage.ru_maxrss / 1024:6.0f} MiB, the books {verdict}"


def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=100_000, help=f"a multiple of {_PRODUCTS}")
    asked = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshmart-audit-")))
        on_sqlite = {"MESHMART_DATA_DIR": str(directory / "data")}
        (directory / "data").mkdir()
        asyncio.run(_make(on_sqlite, asked.orders))
        print(f"sqlite,     {asked.orders:,} orders: {_measure(on_sqlite, directory)}")
        programs = binaries()
        if programs is None:
            sys.exit("PostgreSQL is not installed: not measured")
        server = stack.enter_context(throwaway(programs))
        on_postgres = {"MESHMART_DATABASE_URL": server.url("postgres")}
        asyncio.run(_make(on_postgres, asked.orders))
        print(f"postgresql, {asked.orders:,} orders: {_measure(on_postgres, directory)}")


if __name__ == "__main__":
    main()
