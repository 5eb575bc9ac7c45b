"""Old messages are dropped."""

from alembic import op

revision = "chat_0002"
down_revision = "chat_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("messages_by_age", "messages", ["sent_at"])


def downgrade() -> None:
    op.drop_index("messages_by_age", "messages")
