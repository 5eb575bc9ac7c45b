"""Schema changes that migrations make to large tables while the shop runs."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa


def create_index(
    op: Any,
    name: str,
    table: str,
    columns: Sequence[Any],
    *,
    unique: bool = False,
    where: str = "",
    **options: Any,
) -> None:
    """Build an index without blocking writers, on PostgreSQL. For a migration.

    There it is built outside of a transaction. So a migration that calls this must do nothing else that
    cannot be repeated: if the build is interrupted, the next attempt first drops what is left of it. On
    SQLite, and behind a pooler that shares connections per transaction, the index is built in the migration's
    transaction.

    Args:
        op: `alembic.op`.
        where: The condition of a partial index.
        options: Further arguments of `op.create_index`, such as `postgresql_using`.
    """
    if where:
        options |= {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    context = op.get_context()
    if not context.environment_context.config.attributes["concurrently"]:
        op.create_index(name, table, list(columns), unique=unique, if_not_exists=True, **options)
        return
    with context.autocommit_block():
        # It blocks nobody, but waits for the transactions that began earlier, which may take a while.
        wait = op.get_bind().scalar(sa.text("SELECT current_setting('lock_timeout')"))
        op.execute("SET lock_timeout = 0")
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, list(columns), unique=unique, postgresql_concurrently=True, **options)
        op.execute(f"SET lock_timeout = '{wait}'")
