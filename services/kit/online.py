"""What migrations do to large tables while the shop runs."""

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
    """For a migration: build an index without keeping out writers, on PostgreSQL.

    There it is built outside of a transaction, so a migration that calls this does nothing else than call it
    and what may be repeated: where the build is broken off, the next attempt begins with dropping what is
    left of it. On SQLite, and behind a pooler that shares connections by the transaction, it is built in the
    migration's transaction.

    Args:
        op: `alembic.op`.
        where: The condition of a partial index.
        options: More of `op.create_index`, such as `postgresql_using`.
    """
    if where:
        options |= {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    context = op.get_context()
    if not context.environment_context.config.attributes["concurrently"]:
        op.create_index(name, table, list(columns), unique=unique, if_not_exists=True, **options)
        return
    with context.autocommit_block():
        # It locks out nobody, and waits for the transactions that have begun before: these may take a while.
        wait = op.get_bind().scalar(sa.text("SELECT current_setting('lock_timeout')"))
        op.execute("SET lock_timeout = 0")
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(name, table, list(columns), unique=unique, postgresql_concurrently=True, **options)
        op.execute(f"SET lock_timeout = '{wait}'")
