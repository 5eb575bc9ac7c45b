"""Stock is a ledger of movements, and products have versions.

The ledger begins with what was there: a product's stock and what orders hold of it. What they hold is taken
off again by `reserve` movements, which `services.product.stock.SqlStock.adopt` enters in pieces while the
service runs, so that this migration is short however many orders there are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As it was when this migration was written; not imported, as the code moves on.
_RULE = """
    (kind IN ('seed', 'receive') AND stock_change > 0 AND held_change = 0)
    OR (kind = 'reserve' AND stock_change < 0 AND held_change = -stock_change)
    OR (kind = 'release' AND stock_change > 0 AND held_change = -stock_change)
    OR (kind = 'ship' AND stock_change = 0 AND held_change < 0)
    OR (kind = 'correct' AND stock_change <> 0 AND held_change = 0)
"""
_HELD = """
    SELECT item.product_id AS product_id, sum(item.quantity) AS quantity
    FROM reservation_item AS item JOIN reservation ON reservation.key = item.key
    WHERE NOT reservation.released GROUP BY item.product_id
"""
_OPEN = f"""
    INSERT INTO stock_movement (product_id, kind, stock_change, held_change, stock_after, note, user_id, at)
    SELECT product.id, 'seed', product.stock + coalesce(held.quantity, 0), 0,
           product.stock + coalesce(held.quantity, 0), 'the ledger begins', 0, product.updated_at
    FROM product LEFT JOIN ({_HELD}) AS held ON held.product_id = product.id
    WHERE product.stock + coalesce(held.quantity, 0) > 0
"""
#: What is held of products that were deleted: it comes back to nowhere.
_OPEN_DELETED = f"""
    INSERT INTO stock_movement (product_id, kind, stock_change, held_change, stock_after, note, user_id, at)
    SELECT held.product_id, 'seed', held.quantity, 0, held.quantity, 'held of a deleted product', 0, 0
    FROM ({_HELD}) AS held
    WHERE NOT EXISTS (SELECT 1 FROM product WHERE product.id = held.product_id)
"""


def upgrade() -> None:
    op.add_column("product", sa.Column("version", sa.BigInteger, nullable=False, server_default="1"))
    op.add_column("reservation", sa.Column("entered", sa.Text))
    op.create_table(
        "stock_movement",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("product_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("stock_change", sa.BigInteger, nullable=False),
        sa.Column("held_change", sa.BigInteger, nullable=False),
        sa.Column("stock_after", sa.BigInteger),
        sa.Column("key", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.CheckConstraint(_RULE, name="stock_movement_rule"),
        sqlite_autoincrement=True,
    )
    op.create_index("stock_movement_product", "stock_movement", ["product_id", "id"])
    op.create_index("stock_movement_key", "stock_movement", ["key", "product_id", "kind"], unique=True)
    op.execute(_OPEN)
    op.execute(_OPEN_DELETED)
    # Their units are on the shelf again: to the ledger they never left.
    op.execute("UPDATE reservation SET entered = 'release' WHERE released")
    lacking = sa.text("entered IS NULL OR (released AND entered = 'reserve')")
    op.create_index(
        "reservation_not_entered",
        "reservation",
        ["key"],
        sqlite_where=lacking,
        postgresql_where=lacking,
    )


def downgrade() -> None:
    op.drop_index("reservation_not_entered", "reservation")
    op.drop_table("stock_movement")
    op.drop_column("reservation", "entered")
    op.drop_column("product", "version")
