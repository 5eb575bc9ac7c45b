"""The audit finds what does not add up, and leaves alone what is only not finished yet."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from meshmart.books.check import audit
from meshmart.books.model import Books, Change, Entry, Item, Order, Payment, Product, Refund


def order(number: int, status: str = "CONFIRMED", **different: Any) -> Order:
    values = {"key": f"key-{number}", "step": "DONE", "total": 500, "payment_id": number, "attempts": 0}
    return Order(
        id=number, user_id=2, status=status, **values | {"version": 3, "created_at": 0.0} | different
    )


def payment(number: int, **different: Any) -> Payment:
    values = {"amount": 500, "refunded": 0, "status": "COMPLETED", "key": f"order/order-{number}"}
    return Payment(id=number, **values | {"order_id": number} | different)


def charge(number: int, amount: int = 500) -> Entry:
    return Entry(f"payment-{number}", "charge", amount, True)


#: Order 1 stands; order 2 was cancelled after it was paid, and paid back.
GOOD = Books(
    orders=(order(1), order(2, "CANCELLED", version=5)),
    items=(Item(1, 7, 2, 250), Item(2, 7, 1, 500)),
    history=(
        Change(1, 1, "PENDING"),
        Change(1, 2, "PENDING"),
        Change(1, 3, "CONFIRMED"),
        Change(2, 1, "PENDING"),
        Change(2, 3, "CONFIRMED"),
        Change(2, 4, "CONFIRMED"),  # "being undone": nobody is told
        Change(2, 5, "CANCELLED"),
    ),
    payments=(payment(1), payment(2, status="REFUNDED", refunded=500)),
    refunds=(Refund("re_1", 2, 500, True),),
    ledger=(charge(1), charge(2), Entry("re_1", "refund", 500, True)),
    products=(Product(7, 98),),
    reservations={"order-1": False, "order-2": True},
    reserved={"order-1": Counter({7: 2}), "order-2": Counter({7: 1})},
    seeded={7: 100},
    notifications=("order-1-3", "order-2-3", "order-2-5"),
)


def test_good_books_add_up() -> None:
    verdict = audit(GOOD)
    assert verdict.problems == []
    assert verdict.settled
    assert verdict.orders == {"CANCELLED": 1, "CONFIRMED": 1}
    figures = {(s.section, s.left): (s.left_value, s.right_value) for s in verdict.sums}
    assert figures["money", "payments"] == (1000, 1000)
    assert figures["money", "refunds"] == (500, 500)
    assert figures["money", "orders that stand"] == (500, 500)
    assert figures["stock", "seeded"] == (100, 100)
    assert figures["notifications", "events"] == (3, 3)


def test_what_was_paid_back_with_its_batch_was_charged_all_the_same() -> None:
    undone = payment(9, status="UNDONE", refunded=500, key=None)
    books = replace(
        GOOD,
        payments=(*GOOD.payments, undone),
        refunds=(*GOOD.refunds, Refund("re_9", 9, 500, True)),
        ledger=(*GOOD.ledger, charge(9), Entry("re_9", "refund", 500, True)),
    )
    assert audit(books).problems == []


def test_no_books_add_up_too() -> None:
    assert audit(Books()).settled


WRONG = {
    "order 1: it is paid 0 times": {"payments": GOOD.payments[1:], "ledger": GOOD.ledger[1:]},
    "order 1: its total is 500 cents, payment 1 is 499": {
        "payments": (payment(1, amount=499), GOOD.payments[1]),
        "ledger": (charge(1, 499), *GOOD.ledger[1:]),
    },
    "order 1: it names payment 9, and payment 1 is its": {
        "orders": (order(1, payment_id=9), GOOD.orders[1]),
    },
    "order 1: its total is 500 cents, its lines come to 250": {
        "items": (Item(1, 7, 1, 250), GOOD.items[1]),
    },
    "order 2 (CANCELLED): 500 cents were not paid back": {
        "payments": (GOOD.payments[0], payment(2)),
        "refunds": (),
        "ledger": GOOD.ledger[:2],
    },
    "user 2 has 2 orders under the key 'key-1'": {
        "orders": (order(1), replace(GOOD.orders[1], key="key-1")),
    },
    "payment 1 (COMPLETED): 500 cents, 0 in the acquirer's ledger": {"ledger": GOOD.ledger[1:]},
    "the acquirer charged 500 cents for payment-8: no such payment": {
        "ledger": (*GOOD.ledger, charge(8)),
    },
    "the acquirer paid back 500 cents for re_2: no such refund": {
        "ledger": (*GOOD.ledger, Entry("re_2", "refund", 500, True)),
    },
    "refund re_1: 500 cents, 0 in the acquirer's ledger": {"ledger": GOOD.ledger[:2]},
    "payment 2: 600 cents refunded of 500 paid": {
        "payments": (GOOD.payments[0], payment(2, status="REFUNDED", refunded=600)),
        "refunds": (Refund("re_1", 2, 600, True),),
    },
    "payment 2: 400 cents refunded, its refunds come to 500": {
        "payments": (GOOD.payments[0], payment(2, refunded=400)),
    },
    "product 7: of 100, 97 are on the shelf and 2 held": {"products": (Product(7, 97),)},
    "product 7: its stock is -1": {"products": (Product(7, -1),)},
    "order 1 (CONFIRMED): stock is held none, not 2 of 7": {
        "reservations": {"order-1": True, "order-2": True},
    },
    "order 2 (CANCELLED): stock is held 1 of 7, not none": {
        "reservations": {"order-1": False, "order-2": False},
    },
    "stock is held under 'order-0': no such order": {
        "reservations": {**GOOD.reservations, "order-0": False},
    },
    "payment 3 is for 'order/order-0': no such order": {
        "payments": (*GOOD.payments, payment(3, key="order/order-0", order_id=0)),
    },
    "order-2-5: no notification, and none under way": {"notifications": GOOD.notifications[:2]},  # type: ignore[index]
    "order-1-3: 2 notifications": {"notifications": (*GOOD.notifications, "order-1-3")},  # type: ignore[misc]
    "order-2-4: a notification of nothing": {
        "notifications": (*GOOD.notifications, "order-2-4"),  # type: ignore[misc]
    },
    "order 1: nothing is left to do, but it is PENDING": {
        "orders": (order(1, "PENDING"), GOOD.orders[1]),
    },
}


@pytest.mark.parametrize("problem", WRONG)
def test_what_does_not_add_up_is_found(problem: str) -> None:
    verdict = audit(replace(GOOD, **WRONG[problem]))
    assert problem in verdict.problems
    assert not verdict.balanced


UNFINISHED = {
    "order 1: CHARGE after 2 attempts": {
        "orders": (order(1, "PENDING", step="CHARGE", payment_id=0, attempts=2), GOOD.orders[1]),
        "payments": (payment(1, status="PROCESSING"), GOOD.payments[1]),
        "history": GOOD.history[3:],
        "notifications": GOOD.notifications[1:],  # type: ignore[index]
    },
    "payment 1: PROCESSING": {
        "orders": (order(1, "PENDING", step="CHARGE", payment_id=0), GOOD.orders[1]),
        "payments": (payment(1, status="PROCESSING"), GOOD.payments[1]),
        "ledger": GOOD.ledger[1:],
        "history": GOOD.history[3:],
        "notifications": GOOD.notifications[1:],  # type: ignore[index]
    },
    "refund re_1: the acquirer does not have it yet": {
        "refunds": (Refund("re_1", 2, 500, False),),
        "ledger": GOOD.ledger[:2],
    },
    "event order-2-5: to be notified of": {
        "outbox": ("order-2-5",),
        "notifications": GOOD.notifications[:2],  # type: ignore[index]
    },
    "dead letter order-2-5 for analytics: INVALID_ARGUMENT: no": {
        "dead_letters": ("order-2-5 for analytics: INVALID_ARGUMENT: no",),
    },
}


@pytest.mark.parametrize("what", UNFINISHED)
def test_what_is_not_finished_is_listed_and_not_wrong(what: str) -> None:
    verdict = audit(replace(GOOD, **UNFINISHED[what]))
    assert verdict.problems == []
    assert verdict.balanced
    assert not verdict.settled
    assert what in verdict.unfinished


def test_what_is_newer_than_the_orders_read_is_not_wrong() -> None:
    newer = replace(
        GOOD,
        payments=(*GOOD.payments, payment(3)),
        ledger=(*GOOD.ledger, charge(3)),
        products=(Product(7, 97),),
        reservations={**GOOD.reservations, "order-3": False},
        reserved={**GOOD.reserved, "order-3": Counter({7: 1})},
        notifications=(*GOOD.notifications, "order-3-3", "order-1-4"),  # type: ignore[misc]
    )
    assert audit(newer).problems == []
    assert audit(newer).balanced


def test_an_event_that_was_delivered_and_is_still_in_the_outbox_counts_once() -> None:
    verdict = audit(replace(GOOD, outbox=("order-2-5",)))
    assert verdict.balanced


def test_notifications_that_were_dropped_for_their_age_are_not_missed() -> None:
    history = tuple(replace(change, at=float(change.cursor)) for change in GOOD.history)
    old = replace(GOOD, history=history, notifications=("order-1-3", "order-2-5"), notified_since=4.0)
    assert audit(old).settled
    assert audit(replace(old, notifications=("order-2-5",))).settled
    assert audit(replace(old, notifications=("order-1-3",))).problems == [
        "order-2-5: no notification, and none under way"
    ]


def test_a_product_that_an_admin_edited_has_no_known_beginning() -> None:
    assert audit(replace(GOOD, products=(Product(7, 5, edited=True),))).balanced


def test_a_shop_without_notifications_is_not_asked_for_them() -> None:
    verdict = audit(replace(GOOD, notifications=None))
    assert verdict.settled
    assert "notifications" not in {s.section for s in verdict.sums}


def test_a_free_order_needs_no_payment() -> None:
    free = replace(
        GOOD,
        orders=(order(1, total=0, payment_id=0), GOOD.orders[1]),
        items=(Item(1, 7, 2, 0), GOOD.items[1]),
        payments=GOOD.payments[1:],
        ledger=GOOD.ledger[1:],
    )
    assert audit(free).settled


def test_a_sum_reads_as_a_sentence() -> None:
    texts = [str(s) for s in audit(replace(GOOD, ledger=GOOD.ledger[1:])).sums]
    assert "money: payments 10.00 is not charged by the acquirer 5.00" in texts
    assert "stock: seeded 100 = on the shelf and held 100" in texts
