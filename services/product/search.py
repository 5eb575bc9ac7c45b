"""Searching the catalogue: the statements that find which products contain some text.

What is searched for is anywhere in the text, as part of a word, too. An index of trigrams finds it: FTS5's on
SQLite (https://sqlite.org/fts5.html#the_trigram_tokenizer), pg_trgm's on PostgreSQL, which `LIKE` uses by
itself. Fewer than three characters have no trigram: these are looked for product by product.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

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


def narrowed(
    statement: sa.Select[Any], texts: Sequence[str], *, on_sqlite: bool, tags: bool
) -> sa.Select[Any]:
    """Return the statement over those products that the index finds for any of the texts.

    That is a sieve: the caller adds its conditions. On PostgreSQL these find the index by themselves.

    Args:
        texts: Folded.
        tags: Whether to find them in the tags, too.
    """
    if not on_sqlite or not texts or not all(map(is_indexed, texts)):
        return statement
    phrases = " OR ".join('"' + text.replace('"', '""') + '"' for text in texts)
    query = phrases if tags else f"{{search_text}} : ({phrases})"
    found = _index.join(product, product.c.id == _index.c.rowid)
    return statement.select_from(found).where(_index.c.product_search.op("MATCH")(query))


def place(text: str, *, on_sqlite: bool) -> sa.ColumnElement[int]:
    """Return the column to order a search by, from which it can go on: the product's id."""
    return _index.c.rowid if on_sqlite and is_indexed(text) else product.c.id
