"""The audit's rules about orders alone."""

from meshmart.books.model import Open, Rule, Total

#: The last entry of each order's history.
_LAST = """
    SELECT order_id, status FROM "order".order_events AS e
    WHERE cursor = (SELECT max(cursor) FROM "order".order_events WHERE order_id = e.order_id)
"""

RULES = (
    Rule(
        "order-key",
        "A user has one order under an idempotency key.",
        """
        SELECT user_id, key, count(*) AS number FROM "order".orders WHERE key IS NOT NULL
        GROUP BY user_id, key HAVING count(*) > 1
        """,
        "user {user_id} has {number} orders under the key {key!r}",
    ),
    Rule(
        "order-total",
        "An order's total is the sum of its lines.",
        """
        SELECT o.id, o.total, coalesce(lines.cents, 0) AS cents FROM "order".orders AS o
        LEFT JOIN (SELECT order_id, sum(quantity * unit_price) AS cents FROM "order".order_items
                   GROUP BY order_id) AS lines ON lines.order_id = o.id
        WHERE o.total <> coalesce(lines.cents, 0)
        """,
        "order {id}: its total is {total} cents, its lines come to {cents}",
    ),
    Rule(
        "order-pending",
        "An order with nothing left to do is not PENDING.",
        """SELECT id FROM "order".orders WHERE step = 'DONE' AND status = 'PENDING'""",
        "order {id}: nothing is left to do, but it is PENDING",
    ),
    Rule(
        "order-history",
        "The last entry of an order's history has its status.",
        f"""
        SELECT o.id, o.status, last.status AS last FROM "order".orders AS o
        LEFT JOIN ({_LAST}) AS last ON last.order_id = o.id
        WHERE last.status IS NULL OR last.status <> o.status
        """,
        "order {id}: it is {status}, its history ends with {last}",
    ),
)

OPEN = (
    Open(
        """SELECT id, step, attempts FROM "order".orders WHERE step <> 'DONE' ORDER BY id""",
        "order {id}: {step}, attempts: {attempts}",
    ),
    # Analytics are left out: their figures are not accounting.
    Open(
        """SELECT event_id, topic FROM "order".outbox WHERE refused IS NULL AND topic <> 'analytics'""",
        "event {event_id}: {topic} are to be told",
    ),
    Open(
        """SELECT event_id, topic, refused FROM "order".outbox WHERE refused IS NOT NULL""",
        "dead letter {event_id} for {topic}: {refused}",
    ),
)

TOTALS = (
    Total(
        "orders",
        ("totals", """SELECT sum(total) FROM "order".orders"""),
        ("lines", """SELECT sum(quantity * unit_price) FROM "order".order_items"""),
        cents=True,
    ),
)

BY_STATUS = """SELECT status, count(*) AS number FROM "order".orders GROUP BY status ORDER BY status"""
#: The orders of `meshmart.chaos` and of the tour's streams, recognized by their keys, and their history.
_OURS = "key LIKE 'chaos-%' OR key LIKE 'tour-%'"
PLACED = f"""
    SELECT id, key, status, created_at, total, EXISTS (
        SELECT 1 FROM "order".order_events AS e WHERE e.order_id = o.id AND e.status = 'CONFIRMED')
    FROM "order".orders AS o WHERE {_OURS} ORDER BY id
"""
HISTORY = f"""
    SELECT order_id, cursor FROM "order".order_events
    WHERE order_id IN (SELECT id FROM "order".orders WHERE {_OURS})
"""
