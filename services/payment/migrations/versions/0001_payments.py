"""Payments, refunds, and the books of the simulated acquirer."""

import sqlalchemy as sa
from alembic import op

revision = "payment_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("order_id", sa.Integer, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("method", sa.String(20)),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("key", sa.String(200), unique=True),
        sa.Column("token", sa.String(40), nullable=False),
        sa.Column("last_four", sa.String(4), nullable=False),
        sa.Column("transaction_id", sa.String(40), nullable=False),
        sa.Column("message", sa.String(200), nullable=False),
        sa.Column("refunded", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("processed_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("payments_by_user", "payments", ["user_id", "id"])
    _partial_index("payments_unfinished", "payments", "status = 'PROCESSING'")
    op.create_table(
        "refunds",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("payment_id", sa.Integer, sa.ForeignKey("payments.id"), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("key", sa.String(200), unique=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("settled", sa.Boolean, nullable=False),
    )
    op.create_index("ix_refunds_payment_id", "refunds", ["payment_id"])
    _partial_index("refunds_unsettled", "refunds", "NOT settled")
    op.create_table(
        "acquirer_ledger",
        sa.Column("reference", sa.String(60), primary_key=True),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("approved", sa.Boolean, nullable=False),
        sa.Column("transaction_id", sa.String(40), nullable=False),
        sa.Column("message", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )


def _partial_index(name: str, table: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, ["created_at"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    for table in ("acquirer_ledger", "refunds", "payments"):
        op.drop_table(table)
