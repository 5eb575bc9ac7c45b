"""The audit's part about money: orders, payments and the acquirer's ledger, to the cent."""

from collections import Counter, defaultdict

from meshmart.books.model import CHARGED, PAID, Books, Order, Payment
from meshmart.books.verdict import Verdict

#: How the payment service keeps apart the keys of the order service from those of users.
_OF_ORDERS = "order/"


def check_payments(books: Books, verdict: Verdict) -> None:
    """Each order that stands is paid once, with its total; each that does not is paid back."""
    by_key: defaultdict[str, list[Payment]] = defaultdict(list)
    for payment in books.payments:
        if payment.key is not None and payment.key.startswith(_OF_ORDERS):
            by_key[payment.key].append(payment)
    due = paid = kept = 0
    for order in books.orders:
        payments = by_key.pop(_OF_ORDERS + order.saga_key, [])
        if not order.done:
            continue
        charged = [p for p in payments if p.status in CHARGED]
        if order.status in PAID:
            _check_paid(order, charged, verdict)
            due, paid = due + order.total, paid + sum(p.amount for p in charged)
        else:
            left = sum(p.amount - p.refunded for p in charged)
            verdict.expect(not left, f"order {order.id} ({order.status}): {left} cents were not paid back")
            kept += left
    verdict.add("money", ("orders that stand", due), ("paid for them", paid), cents=True)
    verdict.add("money", ("kept of those that do not", kept), ("due", 0), cents=True)
    _check_of_nothing(books, by_key, verdict)


def _check_paid(order: Order, charged: list[Payment], verdict: Verdict) -> None:
    wanted = 1 if order.total else 0
    if not verdict.expect(len(charged) == wanted, f"order {order.id}: it is paid {len(charged)} times"):
        return
    for payment in charged:
        verdict.expect(
            payment.amount == order.total,
            f"order {order.id}: its total is {order.total} cents, payment {payment.id} is {payment.amount}",
        )
        verdict.expect(
            payment.id == order.payment_id,
            f"order {order.id}: it names payment {order.payment_id}, and payment {payment.id} is its",
        )


def _check_of_nothing(books: Books, left: dict[str, list[Payment]], verdict: Verdict) -> None:
    for key, payments in left.items():
        for payment in payments:
            newer = payment.order_id > books.last_order
            verdict.expect(
                newer or payment.status not in CHARGED, f"payment {payment.id} is for {key!r}: no such order"
            )


def check_ledger(books: Books, verdict: Verdict) -> None:
    """The payment service's books and the acquirer's say the same; no refund is above what was paid."""
    _check_charges(books, verdict)
    _check_refunds(books, verdict)


def _check_charges(books: Books, verdict: Verdict) -> None:
    entries = {e.reference: e.amount for e in books.ledger if e.kind == "charge" and e.approved}
    recorded = charged = 0
    for payment in books.payments:
        amount = entries.pop(f"payment-{payment.id}", 0)
        if payment.status == "PROCESSING":
            continue
        expected = payment.amount if payment.status in CHARGED else 0
        verdict.expect(
            amount == expected,
            f"payment {payment.id} ({payment.status}): {expected} cents, {amount} in the acquirer's ledger",
        )
        recorded, charged = recorded + expected, charged + amount
    verdict.problems += [
        f"the acquirer charged {a} cents for {r}: no such payment" for r, a in entries.items()
    ]
    charged += sum(entries.values())
    verdict.add("money", ("payments", recorded), ("charged by the acquirer", charged), cents=True)


def _check_refunds(books: Books, verdict: Verdict) -> None:
    entries = {e.reference: e.amount for e in books.ledger if e.kind == "refund" and e.approved}
    set_aside: Counter[int] = Counter()
    recorded = paid_back = 0
    for refund in books.refunds:
        set_aside[refund.payment_id] += refund.amount
        amount = entries.pop(refund.id, 0)
        if not refund.settled:
            continue
        verdict.expect(
            amount == refund.amount,
            f"refund {refund.id}: {refund.amount} cents, {amount} in the acquirer's ledger",
        )
        recorded, paid_back = recorded + refund.amount, paid_back + amount
    verdict.problems += [
        f"the acquirer paid back {a} cents for {r}: no such refund" for r, a in entries.items()
    ]
    paid_back += sum(entries.values())
    verdict.add("money", ("refunds", recorded), ("paid back by the acquirer", paid_back), cents=True)
    for payment in books.payments:
        refunded = set_aside[payment.id]
        verdict.expect(
            refunded == payment.refunded,
            f"payment {payment.id}: {payment.refunded} cents refunded, its refunds come to {refunded}",
        )
        verdict.expect(
            refunded <= payment.amount,
            f"payment {payment.id}: {refunded} cents refunded of {payment.amount} paid",
        )
