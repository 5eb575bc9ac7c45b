"""The audit's rules about money: orders, payments, refunds and the acquirer's ledger, to the cent."""

from meshmart.books.model import CHARGED, STANDS, Open, Rule, Total

#: Orders with no step left, and the payments with the order's own key that were charged.
_PAID_ORDERS = f"""
    "order".orders AS o JOIN payment.payments AS p
    ON p.key = 'order/order-' || o.id AND p.status IN {CHARGED} AND o.step = 'DONE'
"""
#: The condition that a payment has refunds which its order has not been told of.
_UNTOLD = """
    EXISTS (SELECT 1 FROM payment.outbox AS e WHERE e.topic = 'orders' AND e.key = 'payment-' || p.id)
    OR EXISTS (SELECT 1 FROM payment.refunds AS r WHERE r.payment_id = p.id AND r.told IS NULL)
"""
_CHARGES = "SELECT reference, amount FROM payment.acquirer_ledger WHERE kind = 'charge' AND approved"
_REFUNDS = "SELECT reference, amount FROM payment.acquirer_ledger WHERE kind = 'refund' AND approved"

_OF_ORDERS = (
    Rule(
        "paid-once",
        "An order that stands is paid once; one that is free is not.",
        f"""
        SELECT o.id, count(p.id) AS number FROM "order".orders AS o
        LEFT JOIN payment.payments AS p ON p.key = 'order/order-' || o.id AND p.status IN {CHARGED}
        WHERE o.step = 'DONE' AND o.status IN {STANDS}
        GROUP BY o.id, o.total HAVING count(p.id) <> CASE WHEN o.total > 0 THEN 1 ELSE 0 END
        """,
        "order {id}: it is paid {number} times",
    ),
    Rule(
        "paid-total",
        "What an order that stands was charged is its total.",
        f"""
        SELECT o.id, o.total, p.id AS payment, p.amount FROM {_PAID_ORDERS}
        WHERE o.status IN {STANDS} AND p.amount <> o.total
        """,
        "order {id}: its total is {total} cents, payment {payment} is {amount}",
    ),
    Rule(
        "paid-payment",
        "An order that stands names the payment that was charged for it.",
        f"""
        SELECT o.id, o.payment_id, p.id AS payment FROM {_PAID_ORDERS}
        WHERE o.status IN {STANDS} AND p.id <> o.payment_id
        """,
        "order {id}: it names payment {payment_id}, and payment {payment} is its",
    ),
    Rule(
        "paid-back",
        "Of an order that does not stand everything was given back.",
        f"""
        SELECT o.id, o.status, p.amount - p.refunded AS cents FROM {_PAID_ORDERS}
        WHERE o.status NOT IN {STANDS} AND p.amount > p.refunded
        """,
        "order {id} ({status}): {cents} cents were not paid back",
    ),
    Rule(
        "refund-known",
        "An order knows what was given back of its payment, once it has been told.",
        f"""
        SELECT o.id, o.status, o.refunded, p.id AS payment, p.refunded AS cents FROM {_PAID_ORDERS}
        WHERE o.refunded <> p.refunded AND NOT ({_UNTOLD})
        """,
        "order {id} ({status}): it knows of {refunded} cents given back, of payment {payment} {cents} were",
    ),
    Rule(
        "refund-whole",
        "An order of which everything was given back does not stand.",
        f"""
        SELECT id, status, total FROM "order".orders
        WHERE step = 'DONE' AND status IN {STANDS} AND total > 0 AND refunded >= total
        """,
        "order {id}: all of its {total} cents were given back, but it is {status}",
    ),
    Rule(
        "payment-order",
        "What was charged for an order has an order.",
        f"""
        SELECT p.id, p.key FROM payment.payments AS p
        WHERE p.status IN {CHARGED} AND p.key LIKE 'order/order-%' AND NOT EXISTS (
            SELECT 1 FROM "order".orders AS o WHERE o.id = p.order_id AND p.key = 'order/order-' || o.id)
        """,
        "payment {id} is for {key!r}: no such order",
    ),
)
_OF_PAYMENTS = (
    Rule(
        "payment-status",
        "A payment is REFUNDED when all of it was given back, and not before.",
        f"""
        SELECT id, status, amount, refunded FROM payment.payments
        WHERE (status = 'COMPLETED' AND refunded >= amount)
           OR (status IN ('REFUNDED', 'UNDONE') AND refunded < amount)
           OR (status NOT IN {CHARGED} AND refunded <> 0)
        """,
        "payment {id}: it is {status}, and {refunded} of its {amount} cents were given back",
    ),
    Rule(
        "refund-sum",
        "What was given back of a payment is the sum of its refunds.",
        """
        SELECT p.id, p.refunded, coalesce(made.cents, 0) AS cents FROM payment.payments AS p
        LEFT JOIN (SELECT payment_id, sum(amount) AS cents FROM payment.refunds GROUP BY payment_id) AS made
        ON made.payment_id = p.id WHERE p.refunded <> coalesce(made.cents, 0)
        """,
        "payment {id}: {refunded} cents refunded, its refunds come to {cents}",
    ),
    Rule(
        "refund-limit",
        "No more is given back than was paid.",
        "SELECT id, amount, refunded FROM payment.payments WHERE refunded > amount",
        "payment {id}: {refunded} cents refunded of {amount} paid",
    ),
)
_OF_ACQUIRER = (
    Rule(
        "charge-ledger",
        "The acquirer charged what the payment service says, and nothing else.",
        f"""
        SELECT * FROM (
            SELECT p.id, p.status, CASE WHEN p.status IN {CHARGED} THEN p.amount ELSE 0 END AS cents,
                   coalesce(e.amount, 0) AS charged
            FROM payment.payments AS p LEFT JOIN ({_CHARGES}) AS e ON e.reference = 'payment-' || p.id
            WHERE p.status <> 'PROCESSING' AND p.look_at IS NULL) AS held
        WHERE cents <> charged
        """,
        "payment {id} ({status}): {cents} cents, {charged} in the acquirer's ledger",
    ),
    Rule(
        "charge-unknown",
        "The acquirer charged nothing that the payment service does not know.",
        f"""
        SELECT e.reference, e.amount FROM ({_CHARGES}) AS e JOIN (
            SELECT reference FROM ({_CHARGES}) AS c EXCEPT SELECT 'payment-' || id FROM payment.payments
        ) AS stray ON stray.reference = e.reference
        """,
        "the acquirer charged {amount} cents for {reference}: no such payment",
    ),
    Rule(
        "refund-ledger",
        "The acquirer gave back what the payment service says.",
        f"""
        SELECT r.id, r.amount, coalesce(e.amount, 0) AS paid FROM payment.refunds AS r
        LEFT JOIN ({_REFUNDS}) AS e ON e.reference = r.id
        WHERE r.settled AND r.amount <> coalesce(e.amount, 0)
        """,
        "refund {id}: {amount} cents, {paid} in the acquirer's ledger",
    ),
    Rule(
        "refund-unknown",
        "The acquirer gave nothing back that the payment service does not know.",
        f"""
        SELECT e.reference, e.amount FROM ({_REFUNDS}) AS e
        WHERE NOT EXISTS (SELECT 1 FROM payment.refunds AS r WHERE r.id = e.reference)
        """,
        "the acquirer paid back {amount} cents for {reference}: no such refund",
    ),
)
RULES = (*_OF_ORDERS, *_OF_PAYMENTS, *_OF_ACQUIRER)

OPEN = (
    Open("SELECT id FROM payment.payments WHERE status = 'PROCESSING'", "payment {id}: PROCESSING"),
    Open(
        f"""
        SELECT p.id FROM payment.payments AS p JOIN ({_CHARGES}) AS e ON e.reference = 'payment-' || p.id
        WHERE p.look_at IS NOT NULL
        """,
        "payment {id}: it was charged after it had been given up, and is to be given back",
    ),
    Open(
        "SELECT id FROM payment.refunds WHERE NOT settled", "refund {id}: the acquirer does not have it yet"
    ),
    Open("SELECT id FROM payment.refunds WHERE told IS NULL", "refund {id}: its order is not told of it yet"),
    Open(
        "SELECT event_id, key FROM payment.outbox WHERE refused IS NULL",
        "refund {event_id} of {key}: its order is to be told",
    ),
    Open(
        "SELECT event_id, topic, refused FROM payment.outbox WHERE refused IS NOT NULL",
        "dead letter {event_id} for {topic}: {refused}",
    ),
)

TOTALS = (
    Total(
        "money",
        (
            "orders that stand",
            f"""SELECT sum(total) FROM "order".orders WHERE step = 'DONE' AND status IN {STANDS}""",
        ),
        ("paid for them", f"SELECT sum(p.amount) FROM {_PAID_ORDERS} WHERE o.status IN {STANDS}"),
        cents=True,
    ),
    Total(
        "money",
        (
            "given back of orders that stand",
            f"SELECT sum(o.refunded) FROM {_PAID_ORDERS} WHERE o.status IN {STANDS} AND NOT ({_UNTOLD})",
        ),
        (
            "of their payments",
            f"SELECT sum(p.refunded) FROM {_PAID_ORDERS} WHERE o.status IN {STANDS} AND NOT ({_UNTOLD})",
        ),
        cents=True,
    ),
    Total(
        "money",
        (
            "kept of those that do not",
            f"SELECT sum(p.amount - p.refunded) FROM {_PAID_ORDERS} WHERE o.status NOT IN {STANDS}",
        ),
        ("due", "SELECT 0"),
        cents=True,
    ),
    Total(
        "money",
        (
            "payments",
            f"SELECT sum(amount) FROM payment.payments WHERE status IN {CHARGED}",
        ),
        (
            "charged by the acquirer",
            f"""
            SELECT sum(e.amount) FROM ({_CHARGES}) AS e WHERE e.reference NOT IN (
                SELECT 'payment-' || id FROM payment.payments
                WHERE status = 'PROCESSING' OR look_at IS NOT NULL)
            """,
        ),
        cents=True,
    ),
    Total(
        "money",
        ("refunds", "SELECT sum(amount) FROM payment.refunds WHERE settled"),
        (
            "paid back by the acquirer",
            f"""
            SELECT sum(e.amount) FROM ({_REFUNDS}) AS e WHERE e.reference NOT IN (
                SELECT id FROM payment.refunds WHERE NOT settled)
            """,
        ),
        cents=True,
    ),
)
