"""The audit's rules about stock: products, the ledger, reservations and orders, to the unit."""

from meshmart.books.model import STANDS, Open, Rule, Total

#: Reservations of versions without a ledger, which are still to be entered (`SqlStock.adopt`).
_NOT_ENTERED = "(entered IS NULL OR (released AND entered = 'reserve'))"
#: Shipped orders that the catalogue does not know of: an older version told nobody, or the event waits.
_TO_TELL = """
    (status IN ('SHIPPED', 'DELIVERED') AND ship_told IS NOT TRUE)
    OR (status = 'REFUNDED' AND ship_told IS NULL)
"""
_UNTOLD = f"""
    SELECT key FROM "order".outbox WHERE topic = 'stock'
    UNION ALL SELECT 'order-' || id FROM "order".orders WHERE {_TO_TELL}
"""
#: The units that settled orders should hold or have shipped, by their lines.
_WANTED = f"""
    SELECT o.id, o.status, i.product_id,
           CASE o.status WHEN 'CONFIRMED' THEN 'held' ELSE 'shipped' END AS state,
           i.quantity AS wanted, 0 AS there
    FROM "order".orders AS o JOIN "order".order_items AS i ON i.order_id = o.id
    WHERE o.step = 'DONE' AND (o.status IN {STANDS} OR (o.status = 'REFUNDED' AND EXISTS (
        SELECT 1 FROM "order".order_events AS e WHERE e.order_id = o.id AND e.status = 'SHIPPED')))
"""
#: The units that they hold or have shipped, by their reservations.
_THERE = """
    SELECT o.id, o.status, i.product_id, CASE r.entered WHEN 'ship' THEN 'shipped' ELSE 'held' END AS state,
           0 AS wanted, i.quantity AS there
    FROM "order".orders AS o JOIN product.reservation AS r ON r.key = 'order-' || o.id AND NOT r.released
    JOIN product.reservation_item AS i ON i.key = r.key
    WHERE o.step = 'DONE'
"""
_HELD = """
    SELECT sum(i.quantity) FROM product.reservation_item AS i JOIN product.reservation AS r ON r.key = i.key
    WHERE NOT r.released AND (r.entered = 'reserve' OR r.entered IS NULL)
"""

RULES = (
    Rule(
        "stock-negative",
        "No product has less than nothing in stock.",
        "SELECT id, stock FROM product.product WHERE stock < 0",
        "product {id}: its stock is {stock}",
    ),
    Rule(
        "stock-ledger",
        "A product's stock is the sum of its ledger; a product that was deleted has none.",
        f"""
        SELECT id, sum(stock) AS stock, sum(entered) AS entered FROM (
            SELECT id, stock, 0 AS entered FROM product.product
            UNION ALL SELECT product_id, 0, stock_change FROM product.stock_movement
            UNION ALL SELECT i.product_id, 0, CASE WHEN r.released THEN 0 ELSE -i.quantity END
                FROM product.reservation AS r JOIN product.reservation_item AS i ON i.key = r.key
                WHERE {_NOT_ENTERED} AND r.entered IS NULL
            UNION ALL SELECT i.product_id, 0, i.quantity
                FROM product.reservation AS r JOIN product.reservation_item AS i ON i.key = r.key
                WHERE {_NOT_ENTERED} AND r.entered = 'reserve'
        ) AS moves GROUP BY id HAVING sum(stock) <> sum(entered)
        """,
        "product {id}: its stock is {stock}, its ledger comes to {entered}",
    ),
    Rule(
        "reservation-ledger",
        "The ledger has what each reservation holds, and what of it has shipped.",
        f"""
        SELECT * FROM (
            SELECT key, product_id, sum(held) AS held, sum(shipped) AS shipped,
                   sum(entered_held) AS entered_held, sum(entered_shipped) AS entered_shipped
            FROM (
                SELECT i.key, i.product_id, CASE r.entered WHEN 'reserve' THEN i.quantity ELSE 0 END AS held,
                       CASE r.entered WHEN 'ship' THEN i.quantity ELSE 0 END AS shipped,
                       0 AS entered_held, 0 AS entered_shipped
                FROM product.reservation AS r JOIN product.reservation_item AS i ON i.key = r.key
                UNION ALL
                SELECT key, product_id, 0, 0, held_change, CASE kind WHEN 'ship' THEN -held_change ELSE 0 END
                FROM product.stock_movement WHERE held_change <> 0
            ) AS moves GROUP BY key, product_id) AS sums
        WHERE (held <> entered_held OR shipped <> entered_shipped) AND NOT EXISTS (
            SELECT 1 FROM product.reservation AS r WHERE r.key = sums.key AND {_NOT_ENTERED})
        """,
        "reservation {key}: of product {product_id} {held} are held and {shipped} have shipped, "
        "the ledger has {entered_held} and {entered_shipped}",
    ),
    Rule(
        "held-order",
        "Stock is held for exactly the orders that stand, and has shipped for those that have.",
        f"""
        SELECT id, status, product_id, state, sum(wanted) AS wanted, sum(there) AS there
        FROM ({_WANTED} UNION ALL {_THERE}) AS moves
        WHERE 'order-' || id NOT IN ({_UNTOLD})
        GROUP BY id, status, product_id, state HAVING sum(wanted) <> sum(there)
        """,
        "order {id} ({status}): of product {product_id} {there} are {state}, not {wanted}",
    ),
    Rule(
        "held-unknown",
        "Stock is held for orders, and for nothing else.",
        """
        SELECT key FROM product.reservation WHERE NOT released
        EXCEPT SELECT 'order-' || id FROM "order".orders
        """,
        "stock is held under {key!r}: no such order",
    ),
)

OPEN = (
    Open(
        f"SELECT key FROM product.reservation WHERE {_NOT_ENTERED}",
        "reservation {key}: to be entered into the ledger",
    ),
    Open(
        f"""SELECT id FROM "order".orders WHERE {_TO_TELL}""",
        "order {id}: the catalogue is to be told that it has shipped",
    ),
)

TOTALS = (
    Total(
        "stock",
        (
            "received, less what has shipped",
            "SELECT sum(stock_change + held_change) FROM product.stock_movement",
        ),
        (
            "on the shelf and held",
            f"SELECT (SELECT sum(stock) FROM product.product) + coalesce(({_HELD}), 0)",
        ),
    ),
    Total(
        "stock",
        (
            "held and shipped for settled orders",
            f"SELECT sum(there) FROM ({_THERE}) AS there",
        ),
        ("ordered", f"SELECT sum(wanted) FROM ({_WANTED}) AS wanted"),
    ),
)
