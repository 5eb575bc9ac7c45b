"""Trigrams of what products are searched by.

On SQLite they are FTS5's, kept by triggers. On PostgreSQL they are pg_trgm's, which the owner of a database
may install; where that is refused, searches scan the table as before (docs/databases.md).
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

from services.kit.online import create_index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ADD = (
    "INSERT INTO product_search (rowid, search_text, tags) VALUES (new.id, new.search_text, lower(new.tags));"
)
_TAKE = """
    INSERT INTO product_search (product_search, rowid, search_text, tags)
    VALUES ('delete', old.id, old.search_text, lower(old.tags));
"""
_SQLITE = (
    "CREATE VIEW product_text AS SELECT id, search_text, lower(tags) AS tags FROM product",
    """
    CREATE VIRTUAL TABLE product_search USING fts5(
        search_text, tags, content = 'product_text', content_rowid = 'id',
        tokenize = 'trigram case_sensitive 1'
    )
    """,
    f"CREATE TRIGGER product_search_insert AFTER INSERT ON product BEGIN {_ADD} END",
    f"CREATE TRIGGER product_search_delete AFTER DELETE ON product BEGIN {_TAKE} END",
    f"""
    CREATE TRIGGER product_search_update AFTER UPDATE OF search_text, tags ON product
    BEGIN {_TAKE} {_ADD} END
    """,
    "INSERT INTO product_search (product_search) VALUES ('rebuild')",
)
_SCHEMA = """
    SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace
    WHERE extname = 'pg_trgm'
"""


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for statement in _SQLITE:
            op.execute(statement)
    elif schema := _extension():
        _index(schema, "product_search_text", "search_text")
        _index(schema, "product_search_tags", "lower(tags)")


def _extension() -> str:
    """Return the schema of pg_trgm, or an empty string if the extension cannot be created."""
    bind = op.get_bind()
    try:
        with bind.begin_nested():
            bind.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except DBAPIError:  # not installed, or not allowed
        return ""
    return str(bind.scalar(sa.text(_SCHEMA)) or "")


def _index(schema: str, name: str, expression: str) -> None:
    trigrams = sa.text(f'({expression}) "{schema}".gin_trgm_ops')
    create_index(op, name, "product", [trigrams], postgresql_using="gin")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for trigger in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER product_search_{trigger}")
        op.execute("DROP TABLE product_search")
        op.execute("DROP VIEW product_text")
    else:
        op.execute("DROP INDEX IF EXISTS product_search_text, product_search_tags")
