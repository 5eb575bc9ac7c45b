"""The audit's rules about notifications: changes of orders, and what their buyers were told."""

from meshmart.books.model import Rule, Total

#: Seconds by which the clocks of order and notification may differ.
_SKEW = 300
#: Changes that need a notification: the first in each status of an order, and each refund.
_TOLD_OF = """
    SELECT 'order-' || order_id || '-' || cursor AS event_id, at FROM (
        SELECT order_id, cursor, status, at, refunded,
               coalesce(lag(refunded) OVER (PARTITION BY order_id ORDER BY cursor), 0) AS refunded_before,
               min(cursor) OVER (PARTITION BY order_id, status) AS first
        FROM "order".order_events) AS changes
    WHERE (cursor = first AND status <> 'PENDING') OR refunded > refunded_before
"""
#: The same without changes so old that their notifications may have been deleted.
_EXPECTED = f"""
    SELECT event_id FROM ({_TOLD_OF}) AS told_of
    WHERE at >= coalesce((SELECT max(before) + {_SKEW} FROM notification.forgotten), 0)
"""
_TOLD = "SELECT event_id FROM notification.notifications WHERE event_id IS NOT NULL"
_WAITING = """SELECT event_id FROM "order".outbox WHERE topic = 'notifications'"""

RULES = (
    Rule(
        "notified",
        "A buyer is notified of each status of an order, and of each refund.",
        f"{_EXPECTED} EXCEPT SELECT event_id FROM ({_TOLD}) AS told EXCEPT {_WAITING}",
        "{event_id}: no notification, and none under way",
    ),
    Rule(
        "notified-once",
        "Nobody is notified twice of the same.",
        f"SELECT event_id, count(*) AS number FROM ({_TOLD}) AS told GROUP BY event_id HAVING count(*) > 1",
        "{event_id}: {number} notifications",
    ),
    Rule(
        "notified-of-nothing",
        "Nobody is notified of what did not happen.",
        f"""
        SELECT event_id FROM notification.notifications WHERE kind = 'ORDER' AND event_id LIKE 'order-%'
        EXCEPT SELECT event_id FROM ({_TOLD_OF}) AS told_of
        """,
        "{event_id}: a notification of nothing",
    ),
)

TOTALS = (
    Total(
        "notifications",
        ("events", f"SELECT count(*) FROM ({_EXPECTED}) AS expected"),
        (
            "delivered and waiting",
            f"""
            SELECT count(*) FROM ({_EXPECTED}) AS expected
            WHERE event_id IN ({_TOLD} UNION ALL {_WAITING})
            """,
        ),
    ),
)
