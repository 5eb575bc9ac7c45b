"""Searches the catalogue: the statements that find which products contain some text.

The text may be anywhere, also within a word. An index of trigrams finds it: FTS5's on SQLite
(https://sqlite.org/fts5.html#the_trigram_tokenizer), pg_trgm's on PostgreSQL, which `LIKE` uses by itself.
Fewer than three characters have no trigram: for these the products are scanned.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa

from services.kit.db import Database
from services.product.tables import product

#: The fewest characters that an index can find.
TRIGRAM = 3
#: The most ids that one statement scans if no index helps.
STRIDE = 10_000

_index = sa.table("product_search", sa.column("rowid", sa.Integer), sa.column("product_search", sa.Text))


def is_indexed(text: str) -> bool:
    """Return whether an index finds the text."""
    return len(text) >= TRIGRAM and "\0" not in text


def contains(text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a product's name or description contains the folded text."""
    return product.c.search_text.contains(text, autoescape=True)


def mentions(text: str) -> sa.ColumnElement[bool]:
    """Return the condition that a product's name, description or tags contain the folded text."""
    return contains(text) | sa.func.lower(product.c.tags).contains(text, autoescape=True)


def narrowed(statement: sa.Select[Any], text: str, *, on_sqlite: bool) -> sa.Select[Any]:
    """Return the statement, restricted to products in whose name or description the index finds the text.

    That is only a filter: the caller adds its conditions. On PostgreSQL these use the index by themselves.

    Args:
        text: Folded text, long enough for the index.
    """
    if not on_sqlite:
        return statement
    query = f"{{search_text}} : ({_phrase(text)})"
    found = _index.join(product, product.c.id == _index.c.rowid)
    return statement.select_from(found).where(_index.c.product_search.op("MATCH")(query))


def found(texts: Sequence[str], *, every: bool) -> sa.Select[Any]:
    """Return a query, on SQLite, for the ids of the products for which the index finds every text, or any.

    Args:
        texts: Texts as for `narrowed`. They are found in the tags, too.
    """
    query = (" AND " if every else " OR ").join(map(_phrase, texts))
    ids = sa.select(_index.c.rowid.label("id")).where(_index.c.product_search.op("MATCH")(query))
    return ids.order_by(_index.c.rowid)


def _phrase(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def bounded(statement: sa.Select[Any], min_price: int, max_price: int) -> sa.Select[Any]:
    """Return the statement with bounds of the price, in cents; 0 means no bound."""
    if min_price:
        statement = statement.where(product.c.price >= min_price)
    if max_price:
        statement = statement.where(product.c.price <= max_price)
    return statement


async def strides(db: Database) -> AsyncIterator[tuple[int, int]]:
    """Yield pairs that divide the catalogue into ranges of `STRIDE` ids: after the first, up to the
    second.
    """
    end = await db.read(lambda c: c.scalar(sa.select(sa.func.max(product.c.id)))) or 0
    for start in range(0, end, STRIDE):
        yield start, start + STRIDE


def place(text: str, *, on_sqlite: bool) -> sa.ColumnElement[int]:
    """Return the column that orders a search, and after which it can continue: the product's id."""
    return _index.c.rowid if on_sqlite and is_indexed(text) else product.c.id
