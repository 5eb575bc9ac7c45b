"""Refunds, expected totals, and who is told that goods have left.

An order that was cancelled or refunded after it was paid had all of it given back. What was given back of
orders that stand is told by the payment service's outbox, and that orders have shipped is told by
`services.order.orders.Orders.backfill_events`; both in pieces, while the services run.
"""

import sqlalchemy as sa
from alembic import op

revision = "order_0004"
down_revision = "order_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("refunded", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("orders", sa.Column("expected", sa.BigInteger))
    op.add_column("orders", sa.Column("ship_told", sa.Boolean))
    op.add_column("order_events", sa.Column("refunded", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(
        "UPDATE orders SET refunded = total WHERE status IN ('CANCELLED', 'REFUNDED') AND payment_id > 0"
    )
    untold = sa.text(
        "(status IN ('SHIPPED', 'DELIVERED') AND ship_told IS NOT TRUE)"
        " OR (status = 'REFUNDED' AND ship_told IS NULL)"
    )
    op.create_index("orders_untold", "orders", ["id"], sqlite_where=untold, postgresql_where=untold)


def downgrade() -> None:
    op.drop_index("orders_untold", "orders")
    op.drop_column("order_events", "refunded")
    for column in ("ship_told", "expected", "refunded"):
        op.drop_column("orders", column)
