"""Orders whose shipping may have to be told are those with `ship_told` NULL, with an index of their own.

The index of 0004 had a longer condition, for which SQLite took the index by status and read every shipped
order. What an old replica has shipped without telling is set to NULL, so that the new index has it.
"""

import sqlalchemy as sa
from alembic import op

from services.kit.online import create_index

revision = "order_0006"
down_revision = "order_0005"
branch_labels = None
depends_on = None

#: The condition of the index of 0004.
_BEFORE = (
    "(status IN ('SHIPPED', 'DELIVERED') AND ship_told IS NOT TRUE)"
    " OR (status = 'REFUNDED' AND ship_told IS NULL)"
)


def upgrade() -> None:
    create_index(op, "orders_to_tell", "orders", ["id"], where="ship_told IS NULL")
    op.execute(f"UPDATE orders SET ship_told = NULL WHERE ({_BEFORE}) AND ship_told IS NOT NULL")
    op.drop_index("orders_untold", "orders")


def downgrade() -> None:
    before = sa.text(_BEFORE)
    op.create_index("orders_untold", "orders", ["id"], sqlite_where=before, postgresql_where=before)
    op.drop_index("orders_to_tell", "orders")
