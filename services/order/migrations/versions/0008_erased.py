"""Buyers that are to be forgotten once their orders have shipped."""

import sqlalchemy as sa
from alembic import op

revision = "order_0008"
down_revision = "order_0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("erased", sa.Column("user_id", sa.Integer, primary_key=True, autoincrement=False))


def downgrade() -> None:
    op.drop_table("erased")
