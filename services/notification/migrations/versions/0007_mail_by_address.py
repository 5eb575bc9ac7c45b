"""An index for the letters to one address, the newest first: `ListMail` scanned all letters."""

from alembic import op

from services.kit.online import create_index

revision = "notification_0007"
down_revision = "notification_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(op, "mail_by_address", "mail", ["address", "id"])


def downgrade() -> None:
    op.drop_index("mail_by_address", "mail")
