"""The tables of the payment service. What the database is asked for in SQL is in `storage`."""

import sqlalchemy as sa

from services.kit import audit_record, outbox

metadata = sa.MetaData()
outbox.table.to_metadata(metadata)
audit_record.table.to_metadata(metadata)

payments = sa.Table(
    "payments",
    metadata,
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
    sa.Column("batch", sa.String(40)),
    # Its position among all settled payments. NULL: not settled, not numbered yet, or older than the
    # numbering.
    sa.Column("cursor", sa.BigInteger),
    # When a charge that was given up is searched for again; NULL: never.
    sa.Column("look_at", sa.Double),
    # When it was settled, until it has its cursor.
    sa.Column("to_number", sa.Double),
    sa.Index("payments_by_user", "user_id", "id"),
    sa.Index("payments_by_batch", "batch", "id"),
    sa.Index("payments_by_cursor", "cursor", unique=True),
    # Partial: see the migration. Saying it here would load PostgreSQL's dialect, megabytes, on SQLite too.
    sa.Index("payments_unfinished", "created_at"),
    sa.Index("payments_watched", "look_at"),
    sa.Index("payments_to_number", "to_number", "id"),
    # An id, and so the acquirer's reference, is never used twice.
    sqlite_autoincrement=True,
)

#: One row: the cursor of the payment that was numbered last. Its lock, held to the commit, is what makes the
#: order of cursors that of commits; a sequence would let a later number be seen first. Numbering settled
#: payments takes the lock, settling one does not; see `storage.SqlStore.number`.
feed = sa.Table(
    "payments_feed",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
)

refunds = sa.Table(
    "refunds",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("payment_id", sa.Integer, sa.ForeignKey("payments.id"), nullable=False, index=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String(500), nullable=False),
    sa.Column("key", sa.String(200), unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("settled", sa.Boolean, nullable=False),
    # Whether its order has been told of it. NULL: written by an older version, which told nobody.
    sa.Column("told", sa.Boolean),
    sa.Index("refunds_unsettled", "created_at"),  # partial, as above
    sa.Index("refunds_untold", "payment_id"),  # partial, too
)

#: Refunds that the acquirer may not have. It must be literally the condition of a partial index: with
#: `settled = 0` SQLite does not use the index.
UNSETTLED = sa.text("NOT settled")

#: The simulated acquirer's own books: nothing but `acquirer` reads or writes them.
ledger = sa.Table(
    "acquirer_ledger",
    metadata,
    sa.Column("reference", sa.String(60), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("approved", sa.Boolean, nullable=False),
    sa.Column("transaction_id", sa.String(40), nullable=False),
    sa.Column("message", sa.String(200), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("acquirer_ledger_transaction", "transaction_id"),
)
