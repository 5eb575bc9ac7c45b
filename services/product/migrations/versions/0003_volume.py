"""Spent reservations are found by their age."""

from alembic import op

from services.kit.online import create_index

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    spent = "released AND entered = 'release'"
    create_index(op, "reservation_spent", "reservation", ["created_at"], where=spent)


def downgrade() -> None:
    op.drop_index("reservation_spent", "reservation")
