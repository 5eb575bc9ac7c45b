# ruff: noqa: E501 - rows of SQL
"""The audit finds what does not add up, and says by which rule; what is only not finished it leaves alone.

The books are real databases of either kind. Each rule has a way to break it, and nothing but it.
"""

import importlib.util
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from meshmart.books.check import RULES
from meshmart.books.read import audit, read
from meshmart.books.verdict import MOST, Verdict
from services.kit.db import Database
from tests.databases import Databases, Maker

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


@pytest.fixture
async def shop(new_databases: Maker) -> AsyncIterator[Shop]:
    databases = new_databases(*SERVICES)
    async with AsyncExitStack() as stack:
        dbs = {
            name: await stack.enter_async_context(Database.open(databases.url(name), name))
            for name in SERVICES
        }
        made = Shop(databases, dbs)
        for service, statements in GOOD.items():
            await made.spoil(service, *statements)
        yield made


def _bench() -> Any:
    """bench/broken_books.py, which is no package."""
    path = Path(__file__).parents[3] / "bench" / "broken_books.py"
    spec = importlib.util.spec_from_file_location("broken_books", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCH = _bench()


async def test_good_books_add_up(shop: Shop) -> None:
    verdict = await shop.audited()
    assert (verdict.problems, verdict.broken, verdict.unfinished) == ([], {}, [])
    assert verdict.settled
    assert verdict.orders == {"CANCELLED": 2, "CONFIRMED": 2, "REFUNDED": 2, "SHIPPED": 1}
    figures = {(s.section, s.left): (s.left_value, s.right_value) for s in verdict.sums}
    assert figures["orders", "totals"] == (3000, 3000)
    assert figures["money", "orders that stand"] == (1000, 1000)
    assert figures["money", "given back of orders that stand"] == (100, 100)
    assert figures["money", "payments"] == (2650, 2650)
    assert figures["money", "refunds"] == (1680, 1680)
    assert figures["stock", "held and shipped for settled orders"] == (5, 5)
    assert figures["notifications", "events"] == (14, 14)


async def test_no_books_add_up_too(new_databases: Maker) -> None:
    databases = new_databases(*SERVICES)
    data = Path(databases.environ.get("MESHMART_DATA_DIR", ""))
    assert (await audit(data, databases.environ)).settled


#: By rule: what breaks it and no other, and what is told of it. `!TABLE` takes the constraints off a table.
BROKEN: Mapping[str, tuple[str, Sequence[str], str]] = {
    "order-key": (
        "order",
        ("!orders", "UPDATE orders SET key = 'k1' WHERE id = 2"),
        "user 2 has 2 orders under the key 'k1'",
    ),
    "order-total": (
        "order",
        ("UPDATE order_items SET unit_price = 249 WHERE order_id = 1",),
        "order 1: its total is 500 cents, its lines come to 498",
    ),
    "order-pending": (
        "order",
        (
            "INSERT INTO orders (id, user_id, status, step, total, payment_id, on_file, address, attempts, version,"
            " lease_until, created_at, updated_at, ship_told)"
            " VALUES (10, 2, 'PENDING', 'DONE', 0, 0, true, '{}', 0, 1, 0, 0, 0, false)",
            "INSERT INTO order_events (order_id, cursor, status, message, at) VALUES (10, 1, 'PENDING', '', 1)",
        ),
        "order 10: nothing is left to do, but it is PENDING",
    ),
    "order-history": (
        "order",
        ("INSERT INTO order_events (order_id, cursor, status, message, at) VALUES (1, 9, 'PENDING', '', 9)",),
        "order 1: it is CONFIRMED, its history ends with PENDING",
    ),
    "paid-once": (
        "payment",
        (
            "UPDATE payments SET status = 'FAILED' WHERE id = 1",
            "DELETE FROM acquirer_ledger WHERE reference = 'payment-1'",
        ),
        "order 1: it is paid 0 times",
    ),
    "paid-total": (
        "payment",
        (
            "UPDATE payments SET amount = 499 WHERE id = 1",
            "UPDATE acquirer_ledger SET amount = 499 WHERE reference = 'payment-1'",
        ),
        "order 1: its total is 500 cents, payment 1 is 499",
    ),
    "paid-payment": (
        "order",
        ("UPDATE orders SET payment_id = 8 WHERE id = 1",),
        "order 1: it names payment 8, and payment 1 is its",
    ),
    "paid-back": (
        "payment",
        (
            "UPDATE payments SET amount = 501, status = 'COMPLETED' WHERE id = 2",
            "UPDATE acquirer_ledger SET amount = 501 WHERE reference = 'payment-2'",
        ),
        "order 2 (CANCELLED): 1 cents were not paid back",
    ),
    "refund-known": (
        "payment",
        (
            "UPDATE payments SET refunded = 500, status = 'REFUNDED' WHERE id = 1",
            "INSERT INTO refunds (id, payment_id, amount, reason, created_at, settled, told)"
            " VALUES ('re_1', 1, 500, '', 0, true, true)",
            "INSERT INTO acquirer_ledger (reference, kind, amount, approved, transaction_id, message, created_at)"
            " VALUES ('re_1', 'refund', 500, true, 'x1', '', 0)",
        ),
        "order 1 (CONFIRMED): it knows of 0 cents given back, of payment 1 500 were",
    ),
    "refund-whole": ("", (), "order 1: all of its 500 cents were given back, but it is CONFIRMED"),
    "payment-order": (
        "payment",
        ("UPDATE payments SET key = 'order/order-99', order_id = 99 WHERE id = 8",),
        "payment 8 is for 'order/order-99': no such order",
    ),
    "payment-status": (
        "payment",
        ("UPDATE payments SET status = 'COMPLETED' WHERE id = 2",),
        "payment 2: it is COMPLETED, and 500 of its 500 cents were given back",
    ),
    "refund-sum": (
        "payment",
        (
            "UPDATE refunds SET amount = 499 WHERE id = 're_2'",
            "UPDATE acquirer_ledger SET amount = 499 WHERE reference = 're_2'",
        ),
        "payment 2: 500 cents refunded, its refunds come to 499",
    ),
    "refund-limit": (
        "payment",
        (
            "UPDATE payments SET refunded = 90 WHERE id = 9",
            "UPDATE refunds SET amount = 90 WHERE id = 're_9'",
            "UPDATE acquirer_ledger SET amount = 90 WHERE reference = 're_9'",
        ),
        "payment 9: 90 cents refunded of 80 paid",
    ),
    "charge-ledger": (
        "payment",
        ("UPDATE acquirer_ledger SET amount = 501 WHERE reference = 'payment-1'",),
        "payment 1 (COMPLETED): 500 cents, 501 in the acquirer's ledger",
    ),
    "charge-unknown": (
        "payment",
        (
            "UPDATE acquirer_ledger SET reference = 'payment-99', approved = true WHERE reference = 'payment-7'",
        ),
        "the acquirer charged 500 cents for payment-99: no such payment",
    ),
    "refund-ledger": (
        "payment",
        ("DELETE FROM acquirer_ledger WHERE reference = 're_4a'",),
        "refund re_4a: 200 cents, 0 in the acquirer's ledger",
    ),
    "refund-unknown": (
        "payment",
        (
            "INSERT INTO acquirer_ledger (reference, kind, amount, approved, transaction_id, message, created_at)"
            " VALUES ('re_99', 'refund', 5, true, 'x1', '', 0)",
        ),
        "the acquirer paid back 5 cents for re_99: no such refund",
    ),
    "stock-negative": (
        "product",
        (
            "!product",
            "UPDATE product SET stock = -1 WHERE id = 902",
            "INSERT INTO stock_movement (product_id, kind, stock_change, held_change, note, user_id, at)"
            " VALUES (902, 'correct', -10, 0, '', 0, 0)",
        ),
        "product 902: its stock is -1",
    ),
    "stock-ledger": (
        "product",
        ("UPDATE product SET stock = 97 WHERE id = 901",),
        "product 901: its stock is 97, its ledger comes to 101",
    ),
    "reservation-ledger": (
        "product",
        ("UPDATE stock_movement SET key = 'order-99' WHERE key = 'order-1'",),
        "reservation order-1: of product 901 2 are held and 0 have shipped, the ledger has 0 and 0",
    ),
    "held-order": (
        "product",
        (
            "UPDATE reservation SET released = true, entered = 'release' WHERE key = 'order-1'",
            "INSERT INTO stock_movement (product_id, kind, stock_change, held_change, key, note, user_id, at)"
            " VALUES (901, 'release', 2, -2, 'order-1', '', 0, 0)",
            "UPDATE product SET stock = stock + 2 WHERE id = 901",
        ),
        "order 1 (CONFIRMED): of product 901 0 are held, not 2",
    ),
    "held-unknown": (
        "product",
        (
            "INSERT INTO reservation (key, released, created_at, entered) VALUES ('order-99', false, 0, 'reserve')",
        ),
        "stock is held under 'order-99': no such order",
    ),
    "notified": (
        "notification",
        ("DELETE FROM notifications WHERE event_id = 'order-3-4'",),
        "order-3-4: no notification, and none under way",
    ),
    "notified-once": (
        "notification",
        (
            "!notifications",
            "INSERT INTO notifications (id, user_id, cursor, kind, title, body, event_id, created_at)"
            " VALUES (99, 2, 99, 'ORDER', '', '', 'order-1-3', 0)",
        ),
        "order-1-3: 2 notifications",
    ),
    "notified-of-nothing": (
        "notification",
        (
            "INSERT INTO notifications (user_id, cursor, kind, title, body, event_id, created_at)"
            " VALUES (2, 99, 'ORDER', '', '', 'order-2-4', 0)",
        ),
        "order-2-4: a notification of nothing",
    ),
}


def test_every_rule_has_a_test_that_breaks_it() -> None:
    assert set(BROKEN) == set(RULES)


async def _break(shop: Shop, rule: str) -> None:
    if rule == "refund-whole":  # the one that takes two services
        await _break(shop, "refund-known")
        await shop.spoil("order", "UPDATE orders SET refunded = 500 WHERE id = 1")
        return
    service, statements, _ = BROKEN[rule]
    for statement in statements:
        if statement.startswith("!"):
            await shop.unconstrained(service, statement[1:])
        else:
            await shop.spoil(service, statement)


@pytest.mark.parametrize("rule", list(BROKEN))
async def test_what_does_not_add_up_is_found_by_its_rule_and_by_no_other(shop: Shop, rule: str) -> None:
    await _break(shop, rule)
    verdict = await shop.audited()
    assert f"{BROKEN[rule][2]} [{rule}]" in verdict.problems
    assert set(verdict.broken) == {rule}
    assert not verdict.balanced
    assert verdict.as_dict()["broken"] == verdict.broken


def test_the_bench_breaks_every_rule_that_the_schema_does_not_keep() -> None:
    assert set(RULES) - set(BENCH.WAYS) == {"order-key", "stock-negative", "notified-once"}


@pytest.mark.parametrize("rule", list(BENCH.WAYS))
async def test_the_bench_breaks_one_rule_of_any_books(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    for name, value in shop.databases.environ.items():
        monkeypatch.setenv(name, value)
    await BENCH.break_books(shop.data, rule)
    assert set((await shop.audited()).broken) == {rule}


_OUTBOX = (
    "INSERT INTO outbox (topic, key, event_id, payload, created_at, due, attempts, refused) VALUES "
    "('{topic}', '{key}', '{event}', '{{}}', 0, 0, 0, {refused})"
)


def _waits(topic: str, event: str, key: str = "", refused: str = "NULL") -> str:
    return _OUTBOX.format(topic=topic, event=event, key=key, refused=refused)


#: What is told of it: what brings it about.
UNFINISHED: Mapping[str, Sequence[tuple[str, str]]] = {
    "order 7: CANCEL after 2 attempts": (
        ("order", "UPDATE orders SET step = 'CANCEL', attempts = 2, status = 'PENDING' WHERE id = 7"),
        ("order", "UPDATE order_events SET status = 'PENDING' WHERE order_id = 7"),
        ("notification", "DELETE FROM notifications WHERE event_id = 'order-7-4'"),
    ),
    "payment 7: PROCESSING": (
        ("payment", "UPDATE payments SET status = 'PROCESSING' WHERE id = 7"),
        ("payment", "UPDATE acquirer_ledger SET approved = true WHERE reference = 'payment-7'"),
    ),
    "payment 7: it was charged after it had been given up, and is to be given back": (
        ("payment", "UPDATE payments SET look_at = 5 WHERE id = 7"),
        ("payment", "UPDATE acquirer_ledger SET approved = true WHERE reference = 'payment-7'"),
    ),
    "refund re_2: the acquirer does not have it yet": (
        ("payment", "UPDATE refunds SET settled = false WHERE id = 're_2'"),
        ("payment", "DELETE FROM acquirer_ledger WHERE reference = 're_2'"),
    ),
    "refund re_3: its order is not told of it yet": (
        ("payment", "UPDATE refunds SET told = NULL WHERE id = 're_3'"),
        ("order", "UPDATE orders SET refunded = 0 WHERE id = 3"),
    ),
    "refund re_3 of payment-3: its order is to be told": (
        ("payment", _waits("orders", "re_3", "payment-3")),
        ("order", "UPDATE orders SET refunded = 0 WHERE id = 3"),
    ),
    "dead letter re_3 for orders: no": (("payment", _waits("orders", "re_3", "payment-3", "'no'")),),
    "event order-2-5: notifications are to be told": (
        ("order", _waits("notifications", "order-2-5")),
        ("notification", "DELETE FROM notifications WHERE event_id = 'order-2-5'"),
    ),
    "dead letter order-2-5 for analytics: INVALID_ARGUMENT: no": (
        ("order", _waits("analytics", "order-2-5", refused="'INVALID_ARGUMENT: no'")),
    ),
    "event order-3-shipped: stock are to be told": (
        ("order", _waits("stock", "order-3-shipped", "order-3")),
        ("product", "UPDATE reservation SET entered = 'reserve' WHERE key = 'order-3'"),
        ("product", "DELETE FROM stock_movement WHERE key = 'order-3' AND kind = 'ship'"),
    ),
    "order 3: the catalogue is to be told that it has shipped": (
        ("order", "UPDATE orders SET ship_told = NULL WHERE id = 3"),
        ("product", "UPDATE reservation SET entered = 'reserve' WHERE key = 'order-3'"),
        ("product", "DELETE FROM stock_movement WHERE key = 'order-3' AND kind = 'ship'"),
    ),
    "reservation order-1: to be entered into the ledger": (
        ("product", "UPDATE reservation SET entered = NULL WHERE key = 'order-1'"),
        ("product", "DELETE FROM stock_movement WHERE key = 'order-1'"),
    ),
    "reservation order-2: to be entered into the ledger": (
        ("product", "UPDATE reservation SET entered = 'reserve' WHERE key = 'order-2'"),
        ("product", "DELETE FROM stock_movement WHERE key = 'order-2' AND kind = 'release'"),
    ),
}


@pytest.mark.parametrize("what", list(UNFINISHED))
async def test_what_is_not_finished_is_listed_and_not_wrong(shop: Shop, what: str) -> None:
    for service, statement in UNFINISHED[what]:
        await shop.spoil(service, statement)
    verdict = await shop.audited()
    assert what in verdict.unfinished
    assert verdict.problems == []
    assert verdict.balanced
    assert not verdict.settled


async def test_an_event_that_was_delivered_and_is_still_in_the_outbox_counts_once(shop: Shop) -> None:
    await shop.spoil("order", _waits("notifications", "order-2-5"), _waits("analytics", "order-2-5"))
    verdict = await shop.audited()
    assert verdict.balanced
    assert verdict.unfinished == ["event order-2-5: notifications are to be told"]


async def test_notifications_that_were_dropped_for_their_age_are_not_missed(shop: Shop) -> None:
    await shop.spoil("notification", "INSERT INTO forgotten (id, before) VALUES (1, -296)")  # clocks differ
    await shop.spoil("notification", "DELETE FROM notifications WHERE event_id LIKE 'order-%-3'")
    assert (await shop.audited()).settled
    await shop.spoil("notification", "DELETE FROM notifications WHERE event_id = 'order-2-5'")
    assert (await shop.audited()).problems == ["order-2-5: no notification, and none under way [notified]"]


async def test_a_product_that_was_deleted_has_a_ledger_of_nothing(shop: Shop) -> None:
    await shop.spoil("product", "DELETE FROM product WHERE id = 902")
    assert set((await shop.audited()).broken) == {"stock-ledger"}
    deleted = (
        "INSERT INTO stock_movement (product_id, kind, stock_change, held_change, note, user_id, at)"
        " VALUES (902, 'correct', -9, 0, '', 1, 0)"
    )
    await shop.spoil("product", deleted)
    assert (await shop.audited()).settled


async def test_of_many_problems_the_first_are_told_and_the_others_counted(shop: Shop) -> None:
    rows = ", ".join(f"('order-{n}', false, 0, 'reserve')" for n in range(1000, 1500))
    await shop.spoil("product", f"INSERT INTO reservation (key, released, created_at, entered) VALUES {rows}")
    verdict = await shop.audited()
    assert verdict.broken == {"held-unknown": 500}
    assert len(verdict.problems) == MOST + 1
    assert verdict.problems[-1] == f"and {500 - MOST} more of the kind [held-unknown]"


async def test_a_sum_reads_as_a_sentence(shop: Shop) -> None:
    texts = [str(s) for s in (await shop.audited()).sums]
    assert "money: orders that stand 10.00 = paid for them 10.00" in texts
    assert "stock: held and shipped for settled orders 5 = ordered 5" in texts


async def test_what_a_bench_has_placed_is_read_and_nothing_else(shop: Shop) -> None:
    await shop.spoil("order", "UPDATE orders SET key = 'chaos-1' WHERE id = 1")
    books = await read(shop.data, shop.databases.environ)
    assert [(order.id, order.key, order.status) for order in books.orders] == [(1, "chaos-1", "CONFIRMED")]
    assert sorted(change.cursor for change in books.history) == [1, 2, 3]


async def test_a_shop_without_notifications_is_not_asked_for_them(shop: Shop) -> None:
    if not shop.databases.on_sqlite:
        await shop.spoil("notification", "DROP SCHEMA notification CASCADE")
    else:
        (shop.data / "notification.db").unlink()
    verdict = await shop.audited()
    assert verdict.settled
    assert "notifications" not in {s.section for s in verdict.sums}


async def test_books_that_are_written_meanwhile_are_seen_at_one_moment(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit is away from the shelf only while its order is under way; they are in two files."""
    if not shop.databases.on_sqlite:
        return  # one transaction sees one moment there
    order, product = (
        "UPDATE orders SET step = '{}' WHERE id = 6",
        "UPDATE product SET stock = {} WHERE id = 902",
    )
    execute, begun = sa.Connection.exec_driver_sql, list[str]()

    def executing(connection: sa.Connection, sql: str) -> Any:
        if sql == "BEGIN":
            begun.append(sql)
        if '"product".product' in sql and len(begun) == 1:  # between the snapshots of the two files
            shop.spoil_file("order", order.format("CHARGE"))
            shop.spoil_file("product", product.format(8))
        return execute(connection, sql)

    monkeypatch.setattr(sa.Connection, "exec_driver_sql", executing)
    verdict = await shop.audited()
    assert len(begun) == 2
    assert set(verdict.broken) == {"stock-ledger"}
    assert verdict.unfinished == ["order 6: CHARGE after 0 attempts"]


def test_every_rule_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "orders.md").read_text()
    missing = [rule.name for rule in RULES.values() if f"| `{rule.name}` | {rule.holds} |" not in page]
    assert missing == []
