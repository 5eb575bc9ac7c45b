# ruff: noqa: E501 - SQL
"""Breaks the books of a shop in the database, in the one way that violates a given rule of the audit.

Three rules cannot be broken like that, because the schema prevents it: `order-key`, `stock-negative` and
`notified-once`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from meshmart.books.read import reading
from services.kit.db import Database, database_url

#: Selects what to break: an order that is valid as it was paid, and one that was refunded.
_CHOSEN = """
    SELECT o.id AS "order", o.payment_id AS payment, o.total, back.id AS back_order, p.id AS back_payment,
           (SELECT max(id) FROM payment.refunds WHERE payment_id = p.id) AS refund,
           (SELECT max(id) FROM "order".orders) + 1000 AS no_order,
           (SELECT max(id) FROM payment.payments) + 1000 AS no_payment
    FROM "order".orders AS o, "order".orders AS back JOIN payment.payments AS p
        ON p.key = 'order/order-' || back.id AND p.status = 'REFUNDED'
    WHERE o.status = 'CONFIRMED' AND o.step = 'DONE' AND o.total > 0 AND o.refunded = 0
      AND back.status IN ('CANCELLED', 'REFUNDED') AND back.step = 'DONE'
    ORDER BY o.id DESC, back.id DESC LIMIT 1
"""
_LEDGER = "INSERT INTO acquirer_ledger (reference, kind, amount, approved, transaction_id, message, created_at) VALUES "
_MOVEMENT = (
    "INSERT INTO stock_movement (product_id, kind, stock_change, held_change, key, note, user_id, at) "
)
_REFUND_UNTOLD = (
    ("payment", "UPDATE payments SET refunded = amount, status = 'REFUNDED' WHERE id = {payment}"),
    (
        "payment",
        "INSERT INTO refunds (id, payment_id, amount, reason, created_at, settled, told)"
        " VALUES ('re_broken', {payment}, {total}, '', 0, true, true)",
    ),
    ("payment", _LEDGER + "('re_broken', 'refund', {total}, true, '', '', 0)"),
)
#: The statements that break each rule, each with its service.
WAYS: Mapping[str, Sequence[tuple[str, str]]] = {
    "order-total": (
        (
            "order",
            "UPDATE order_items SET unit_price = unit_price + 1 WHERE order_id = {order} AND position = 0",
        ),
    ),
    "order-pending": (
        (
            "order",
            "INSERT INTO orders (id, user_id, status, step, total, payment_id, on_file, address, attempts, version,"
            " lease_until, created_at, updated_at, ship_told)"
            " VALUES ({no_order}, 2, 'PENDING', 'DONE', 0, 0, true, '{{}}', 0, 1, 0, 0, 0, false)",
        ),
        (
            "order",
            "INSERT INTO order_events (order_id, cursor, status, message, at)"
            " VALUES ({no_order}, 1, 'PENDING', '', 0)",
        ),
    ),
    "order-history": (
        (
            "order",
            "INSERT INTO order_events (order_id, cursor, status, message, at, refunded)"
            " VALUES ({order}, 1000000, 'PENDING', '', 0, 0)",
        ),
    ),
    "paid-once": (
        ("payment", "UPDATE payments SET status = 'FAILED' WHERE id = {payment}"),
        ("payment", "DELETE FROM acquirer_ledger WHERE reference = 'payment-{payment}'"),
    ),
    "paid-total": (
        ("payment", "UPDATE payments SET amount = amount + 1 WHERE id = {payment}"),
        ("payment", "UPDATE acquirer_ledger SET amount = amount + 1 WHERE reference = 'payment-{payment}'"),
    ),
    "paid-payment": (("order", "UPDATE orders SET payment_id = {no_payment} WHERE id = {order}"),),
    "paid-back": (
        (
            "payment",
            "UPDATE payments SET amount = amount + 1, status = 'COMPLETED' WHERE id = {back_payment}",
        ),
        (
            "payment",
            "UPDATE acquirer_ledger SET amount = amount + 1 WHERE reference = 'payment-{back_payment}'",
        ),
    ),
    "refund-known": _REFUND_UNTOLD,
    "refund-whole": (*_REFUND_UNTOLD, ("order", "UPDATE orders SET refunded = total WHERE id = {order}")),
    "payment-order": (
        (
            "payment",
            "INSERT INTO payments (id, user_id, order_id, amount, status, key, token, last_four, transaction_id,"
            " message, refunded, created_at, processed_at) VALUES ({no_payment}, 2, {no_order}, 5, 'COMPLETED',"
            " 'order/order-{no_order}', '', '', '', '', 0, 0, 0)",
        ),
        ("payment", _LEDGER + "('payment-{no_payment}', 'charge', 5, true, '', '', 0)"),
    ),
    "payment-status": (("payment", "UPDATE payments SET status = 'COMPLETED' WHERE id = {back_payment}"),),
    "refund-sum": (
        ("payment", "UPDATE refunds SET amount = amount + 1 WHERE id = '{refund}'"),
        ("payment", "UPDATE acquirer_ledger SET amount = amount + 1 WHERE reference = '{refund}'"),
    ),
    "refund-limit": (
        ("payment", "UPDATE payments SET refunded = refunded + 1 WHERE id = {back_payment}"),
        ("payment", "UPDATE refunds SET amount = amount + 1 WHERE id = '{refund}'"),
        ("payment", "UPDATE acquirer_ledger SET amount = amount + 1 WHERE reference = '{refund}'"),
        ("order", "UPDATE orders SET refunded = refunded + 1 WHERE id = {back_order}"),
    ),
    "charge-ledger": (
        ("payment", "UPDATE acquirer_ledger SET amount = amount - 1 WHERE reference = 'payment-{payment}'"),
    ),
    "charge-unknown": (("payment", _LEDGER + "('payment-{no_payment}', 'charge', 5, true, '', '', 0)"),),
    "refund-ledger": (("payment", "DELETE FROM acquirer_ledger WHERE reference = '{refund}'"),),
    "refund-unknown": (("payment", _LEDGER + "('re_broken', 'refund', 5, true, '', '', 0)"),),
    "stock-ledger": (("product", "UPDATE product SET stock = stock - 1 WHERE id = 1"),),
    "reservation-ledger": (
        ("product", "UPDATE stock_movement SET key = 'order-{no_order}' WHERE key = 'order-{order}'"),
    ),
    "held-order": (
        (
            "product",
            "UPDATE product SET stock = stock + (SELECT sum(quantity) FROM reservation_item"
            " WHERE key = 'order-{order}' AND product_id = product.id) WHERE id IN"
            " (SELECT product_id FROM reservation_item WHERE key = 'order-{order}')",
        ),
        (
            "product",
            _MOVEMENT + "SELECT product_id, 'release', sum(quantity), -sum(quantity), key, '', 0, 0"
            " FROM reservation_item WHERE key = 'order-{order}' GROUP BY product_id, key",
        ),
        (
            "product",
            "UPDATE reservation SET released = true, entered = 'release' WHERE key = 'order-{order}'",
        ),
    ),
    "held-unknown": (
        (
            "product",
            "INSERT INTO reservation (key, released, created_at, entered)"
            " VALUES ('order-{no_order}', false, 0, 'reserve')",
        ),
    ),
    "notified": (("notification", "DELETE FROM notifications WHERE event_id LIKE 'order-{order}-%'"),),
    "notified-of-nothing": (
        (
            "notification",
            "INSERT INTO notifications (user_id, cursor, kind, title, body, event_id, created_at)"
            " VALUES (2, 1000000, 'ORDER', '', '', 'order-{order}-1', 0)",
        ),
    ),
}


async def break_books(data: Path, rule: str) -> None:
    """Break one rule of the books of a shop that is settled.

    Args:
        data: The directory of the SQLite files; MESHMART_DATABASE_URL takes precedence over them.
        rule: One of `WAYS`.

    Raises:
        ValueError: the books lack the orders that it needs: a valid one, and one that was refunded.
    """

    def choose(connection: sa.Connection, _: bool) -> dict[str, Any] | None:
        row = connection.execute(sa.text(_CHOSEN)).mappings().first()
        return None if row is None else dict(row)

    chosen = await reading(data, os.environ, choose)
    if chosen is None:
        raise ValueError("there is no order that stands, or none that was paid back")
    environ = {**os.environ, "MESHMART_DATA_DIR": str(data)}
    for service, statement in WAYS[rule]:
        text = sa.text(statement.format(**chosen).replace(":", "\\:"))
        async with Database.open(database_url(service, environ), service) as db:
            changed = await db.write(lambda connection, text=text: connection.execute(text).rowcount)  # type: ignore[misc]
        if changed == 0:
            raise ValueError(f"{rule}: nothing was changed by {statement.format(**chosen)}")
