# ruff: noqa: E501 - rows of SQL
"""Books that add up, and ways to spoil them."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from meshmart.books.read import audit
from meshmart.books.verdict import Verdict
from services.kit.db import Database
from tests.databases import Databases

SERVICES = ("order", "payment", "product", "notification")

#: Order 1 stands; 2 was cancelled after it was paid; 3 has shipped and was refunded in part; 4 was refunded before
#: it shipped, 5 after; 6 is free; 7 was declined. Payment 8 is a user's own; 9 was undone with its batch.
GOOD: Mapping[str, Sequence[str]] = {
    "order": (
        """
        INSERT INTO orders (id, user_id, status, step, total, payment_id, key, on_file, address, attempts, version,
                            lease_until, created_at, updated_at, refunded, ship_told)
        VALUES (1, 2, 'CONFIRMED', 'DONE', 500, 1, 'k1', true, '{}', 0, 3, 0, 0, 0, 0, false),
               (2, 2, 'CANCELLED', 'DONE', 500, 2, 'k2', true, '{}', 0, 5, 0, 0, 0, 500, false),
               (3, 2, 'SHIPPED', 'DONE', 500, 3, 'k3', true, '{}', 0, 5, 0, 0, 0, 100, true),
               (4, 2, 'REFUNDED', 'DONE', 500, 4, 'k4', true, '{}', 0, 5, 0, 0, 0, 500, false),
               (5, 2, 'REFUNDED', 'DONE', 500, 5, 'k5', true, '{}', 0, 7, 0, 0, 0, 500, true),
               (6, 2, 'CONFIRMED', 'DONE', 0, 0, NULL, true, '{}', 0, 2, 0, 0, 0, 0, false),
               (7, 2, 'CANCELLED', 'DONE', 500, 0, NULL, false, '{}', 0, 4, 0, 0, 0, 0, false)
        """,
        """
        INSERT INTO order_items (order_id, position, product_id, quantity, name, unit_price)
        VALUES (1, 0, 901, 2, 'a', 250), (2, 0, 901, 1, 'a', 500), (3, 0, 901, 1, 'a', 500),
               (4, 0, 901, 1, 'a', 500), (5, 0, 901, 1, 'a', 500), (6, 0, 902, 1, 'b', 0), (7, 0, 901, 1, 'a', 500)
        """,
        """
        INSERT INTO order_events (order_id, cursor, status, message, at, refunded)
        VALUES (1, 1, 'PENDING', '', 1, 0), (1, 2, 'PENDING', '', 2, 0), (1, 3, 'CONFIRMED', '', 3, 0),
               (2, 1, 'PENDING', '', 1, 0), (2, 3, 'CONFIRMED', '', 3, 0), (2, 4, 'CONFIRMED', '', 4, 0),
               (2, 5, 'CANCELLED', '', 5, 500),
               (3, 1, 'PENDING', '', 1, 0), (3, 3, 'CONFIRMED', '', 3, 0), (3, 4, 'CONFIRMED', '', 4, 100),
               (3, 5, 'SHIPPED', '', 5, 100),
               (4, 1, 'PENDING', '', 1, 0), (4, 3, 'CONFIRMED', '', 3, 0), (4, 4, 'CONFIRMED', '', 4, 0),
               (4, 5, 'REFUNDED', '', 5, 500),
               (5, 1, 'PENDING', '', 1, 0), (5, 3, 'CONFIRMED', '', 3, 0), (5, 4, 'SHIPPED', '', 4, 0),
               (5, 5, 'DELIVERED', '', 5, 0), (5, 6, 'DELIVERED', '', 6, 0), (5, 7, 'REFUNDED', '', 7, 500),
               (6, 1, 'PENDING', '', 1, 0), (6, 2, 'CONFIRMED', '', 2, 0),
               (7, 1, 'PENDING', '', 1, 0), (7, 4, 'CANCELLED', '', 4, 0)
        """,
    ),
    "payment": (
        """
        INSERT INTO payments (id, user_id, order_id, amount, status, key, token, last_four, transaction_id, message,
                              refunded, created_at, processed_at)
        VALUES (1, 2, 1, 500, 'COMPLETED', 'order/order-1', 't', '', 'x1', '', 0, 0, 0),
               (2, 2, 2, 500, 'REFUNDED', 'order/order-2', 't', '', 'x2', '', 500, 0, 0),
               (3, 2, 3, 500, 'COMPLETED', 'order/order-3', 't', '', 'x3', '', 100, 0, 0),
               (4, 2, 4, 500, 'REFUNDED', 'order/order-4', 't', '', 'x4', '', 500, 0, 0),
               (5, 2, 5, 500, 'REFUNDED', 'order/order-5', 't', '', 'x5', '', 500, 0, 0),
               (7, 2, 7, 500, 'FAILED', 'order/order-7', 't', '', '', '', 0, 0, 0),
               (8, 2, 1, 70, 'COMPLETED', NULL, 't', '', 'x8', '', 0, 0, 0),
               (9, 2, 1, 80, 'UNDONE', NULL, 't', '', 'x9', '', 80, 0, 0)
        """,
        """
        INSERT INTO refunds (id, payment_id, amount, reason, created_at, settled, told)
        VALUES ('re_2', 2, 500, '', 0, true, true), ('re_3', 3, 100, '', 0, true, true),
               ('re_4a', 4, 200, '', 0, true, true), ('re_4b', 4, 300, '', 0, true, true),
               ('re_5', 5, 500, '', 0, true, true), ('re_9', 9, 80, '', 0, true, true)
        """,
        """
        INSERT INTO acquirer_ledger (reference, kind, amount, approved, transaction_id, message, created_at)
        VALUES ('payment-1', 'charge', 500, true, 'x1', '', 0), ('payment-2', 'charge', 500, true, 'x2', '', 0),
               ('payment-3', 'charge', 500, true, 'x3', '', 0), ('payment-4', 'charge', 500, true, 'x4', '', 0),
               ('payment-5', 'charge', 500, true, 'x5', '', 0), ('payment-7', 'charge', 500, false, '', '', 0),
               ('payment-8', 'charge', 70, true, 'x8', '', 0), ('payment-9', 'charge', 80, true, 'x9', '', 0),
               ('re_2', 'refund', 500, true, 'x2', '', 0), ('re_3', 'refund', 100, true, 'x3', '', 0),
               ('re_4a', 'refund', 200, true, 'x4', '', 0), ('re_4b', 'refund', 300, true, 'x4', '', 0),
               ('re_5', 'refund', 500, true, 'x5', '', 0), ('re_9', 'refund', 80, true, 'x9', '', 0)
        """,
    ),
    "product": (
        """
        INSERT INTO product (id, name, description, price, stock, category, tags, search_text, created_at, updated_at)
        VALUES (901, 'a', '', 500, 101, 1, '[]', 'a', 0, 0), (902, 'b', '', 0, 9, 1, '[]', 'b', 0, 0)
        """,
        """
        INSERT INTO reservation (key, released, created_at, entered)
        VALUES ('order-1', false, 0, 'reserve'), ('order-2', true, 0, 'release'), ('order-3', false, 0, 'ship'),
               ('order-4', true, 0, 'release'), ('order-5', false, 0, 'ship'), ('order-6', false, 0, 'reserve'),
               ('order-7', true, 0, 'release')
        """,
        """
        INSERT INTO reservation_item (key, position, product_id, quantity, name, price, category)
        VALUES ('order-1', 0, 901, 2, 'a', 1, 1), ('order-2', 0, 901, 1, 'a', 1, 1), ('order-3', 0, 901, 1, 'a', 1, 1),
               ('order-4', 0, 901, 1, 'a', 1, 1), ('order-5', 0, 901, 1, 'a', 1, 1), ('order-6', 0, 902, 1, 'b', 1, 1)
        """,
        """
        INSERT INTO stock_movement (product_id, kind, stock_change, held_change, key, note, user_id, at)
        VALUES (901, 'seed', 100, 0, NULL, '', 0, 0), (902, 'seed', 10, 0, NULL, '', 0, 0),
               (901, 'receive', 7, 0, 'adjust/user-1/k', '', 1, 0), (901, 'correct', -2, 0, NULL, '', 1, 0),
               (901, 'reserve', -2, 2, 'order-1', '', 0, 0), (901, 'reserve', -1, 1, 'order-2', '', 0, 0),
               (901, 'release', 1, -1, 'order-2', '', 0, 0), (901, 'reserve', -1, 1, 'order-3', '', 0, 0),
               (901, 'ship', 0, -1, 'order-3', '', 0, 0), (901, 'reserve', -1, 1, 'order-4', '', 0, 0),
               (901, 'release', 1, -1, 'order-4', '', 0, 0), (901, 'reserve', -1, 1, 'order-5', '', 0, 0),
               (901, 'ship', 0, -1, 'order-5', '', 0, 0), (902, 'reserve', -1, 1, 'order-6', '', 0, 0)
        """,
    ),
    "notification": (
        "INSERT INTO users (id, cursor) VALUES (2, 13)",
        """
        INSERT INTO notifications (user_id, cursor, kind, title, body, event_id, created_at)
        VALUES (2, 1, 'ORDER', '', '', 'order-1-3', 0), (2, 2, 'ORDER', '', '', 'order-2-3', 0),
               (2, 3, 'ORDER', '', '', 'order-2-5', 0), (2, 4, 'ORDER', '', '', 'order-3-3', 0),
               (2, 5, 'ORDER', '', '', 'order-3-4', 0), (2, 6, 'ORDER', '', '', 'order-3-5', 0),
               (2, 7, 'ORDER', '', '', 'order-4-3', 0), (2, 8, 'ORDER', '', '', 'order-4-5', 0),
               (2, 9, 'ORDER', '', '', 'order-5-3', 0), (2, 10, 'ORDER', '', '', 'order-5-4', 0),
               (2, 11, 'ORDER', '', '', 'order-5-5', 0), (2, 12, 'ORDER', '', '', 'order-5-7', 0),
               (2, 13, 'ORDER', '', '', 'order-6-2', 0), (2, 14, 'ORDER', '', '', 'order-7-4', 0),
               (2, 15, 'SYSTEM', '', '', 'order-of-the-day', 0), (2, 16, 'SYSTEM', '', '', NULL, 0)
        """,
    ),
}


@dataclass
class Shop:
    """Its databases, which a test spoils without the services."""

    databases: Databases
    dbs: Mapping[str, Database]

    @property
    def data(self) -> Path:
        return Path(self.databases.environ.get("MESHMART_DATA_DIR", ""))

    async def spoil(self, service: str, *statements: str) -> None:
        for statement in statements:
            await self._spoil(service, statement)

    async def unconstrained(self, service: str, table: str) -> None:
        """Takes all constraints off a table, as a backup may that was read back by hand."""
        cascade = "" if self.databases.on_sqlite else " CASCADE"
        copy = (f"CREATE TABLE copy AS SELECT * FROM {table}", f"DROP TABLE {table}{cascade}")
        await self.spoil(service, *copy, f"ALTER TABLE copy RENAME TO {table}")

    async def audited(self) -> Verdict:
        return await audit(self.data, self.databases.environ)

    async def _spoil(self, service: str, statement: str) -> None:
        if not self.databases.on_sqlite:
            text = sa.text(statement.replace(":", "\\:"))
            await self.dbs[service].write(lambda connection: connection.execute(text))
            return
        self.spoil_file(service, statement)

    def spoil_file(self, service: str, statement: str) -> None:
        """On SQLite."""
        with sqlite3.connect(self.data / f"{service}.db", timeout=10) as connection:
            connection.execute("PRAGMA legacy_alter_table = ON")  # views of the table stay as they are
            connection.execute(statement)
        connection.close()
