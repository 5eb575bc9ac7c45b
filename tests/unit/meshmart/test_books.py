# ruff: noqa: E501 - rows of SQL
"""The audit finds what does not add up, and says by which rule; what is only not finished it leaves alone.

The books are real databases of either kind. Each rule has a way to break it, and nothing but it.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from meshmart.books.check import RULES
from meshmart.books.read import audit
from tests.databases import Maker

from .bookkit import SERVICES, Shop


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


def test_every_rule_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "orders.md").read_text()
    missing = [rule.name for rule in RULES.values() if f"| `{rule.name}` | {rule.holds} |" not in page]
    assert missing == []
