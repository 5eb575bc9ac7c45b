"""Searching the catalogue: the statements that find which products contain some text.

What is searched for is anywhere in the text, as part of a word, too. An index of trigrams finds it: FTS5's on
SQLite (https://sqlite.org/fts5.html#the_trigram_tokenizer), pg_trgm's on PostgreSQL, which `LIKE` uses by
itself. Fewer than three characters have no trigram: these are looked for product by product.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa

from services.kit.db import Database
from services.product.tables import product

#: Characters that an index needs.
TRIGRAM = 3
#: Ids that one statement looks through where no index helps.
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
    """Return the statement over those products in whose name or description the index finds the text.

    That is a sieve: the caller adds its conditions. On PostgreSQL these find the index by themselves.

    Args:
        text: Folded, and with enough characters for the index.
    """
    if not on_sqlite:
        return statement
    query = f"{{search_text}} : ({_phrase(text)})"
    found = _index.join(product, product.c.id == _index.c.rowid)
    return statement.select_from(found).where(_index.c.product_search.op("MATCH")(query))


def found(texts: Sequence[str], *, every: bool) -> sa.Select[Any]:
    """Return, on SQLite, the ids of the products for which the index finds every text, or any.

    Args:
        texts: As of `narrowed`; here they are found in the tags, too.
    """
    query = (" AND " if every else " OR ").join(map(_phrase, texts))
    ids = sa.select(_index.c.rowid.label("id")).where(_index.c.product_search.op("MATCH")(query))
    return ids.order_by(_index.c.rowid)


def _phrase(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def bounded(statement: sa.Select[Any], min_price: int, max_price: int) -> sa.Select[Any]:
    """Return the statement with bounds of the price, in cents; 0 is none."""
    if min_price:
        statement = statement.where(product.c.price >= min_price)
    if max_price:
        statement = statement.where(product.c.price <= max_price)
    return statement


async def strides(db: Database) -> AsyncIterator[tuple[int, int]]:
    """The catalogue in pieces of `STRIDE` ids, from after the first to the second of a pair."""
    end = await db.read(lambda c: c.scalar(sa.select(sa.func.max(product.c.id)))) or 0
    for start in range(0, end, STRIDE):
        yield start, start + STRIDE


def place(text: str, *, on_sqlite: bool) -> sa.ColumnElement[int]:
    """Return the column to order a search by, from which it can go on: the product's id."""
    return _index.c.rowid if on_sqlite and is_indexed(text) else product.c.id
