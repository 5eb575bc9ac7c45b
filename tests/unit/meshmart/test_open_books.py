"""Books that are not finished are listed and not wrong, and other things that an audit tells."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from meshmart.books.read import read
from meshmart.books.verdict import MOST

from .bookkit import Shop

_OUTBOX = (
    "INSERT INTO outbox (topic, key, event_id, payload, created_at, due, attempts, refused) VALUES "
    "('{topic}', '{key}', '{event}', '{{}}', 0, 0, 0, {refused})"
)


def _waits(topic: str, event: str, key: str = "", refused: str = "NULL") -> str:
    return _OUTBOX.format(topic=topic, event=event, key=key, refused=refused)


#: What is told of it: what brings it about.
UNFINISHED: Mapping[str, Sequence[tuple[str, str]]] = {
    "order 7: CANCEL, attempts: 2": (
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
    assert verdict.unfinished == ["order 6: CHARGE, attempts: 0"]
