"""Finds the products that a question may be about, without reading the whole catalogue.

The database only filters; `services.product.assistant` ranks. Products that have all words come first, then
those with some. If an index finds few matches, these are compared with each other. If it finds many, then a
scan in the requested order meets enough of them soon, or the first `MOST_LOOKED` represent all.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Row, Select, and_, case, func, literal, or_, select

from services.kit.db import Database
from services.product import search
from services.product.domain import Ranking, Wish
from services.product.tables import product

#: The most matches that are compared with each other.
MOST_LOOKED = 5_000

Rows = list[Row[Any]]


class Candidates:
    """Finds the candidates for a wish.

    Args:
        db: The database with the service's tables.
        columns: The columns to select, `product.id` first.
    """

    def __init__(self, db: Database, columns: Sequence[Column[Any]]) -> None:
        self._db, self._columns = db, columns

    async def find(self, wish: Wish, limit: int) -> Rows:
        """Return up to `limit` products, those with the most words first."""
        if not wish.stems:
            return await self._rows(_ordered(self._wished(wish), wish).limit(limit))
        indexed = [stem for stem in wish.stems if search.is_indexed(stem)]
        found = await self._matching(wish, wish.stems, indexed, limit, every=True) if indexed else []
        if len(found) < limit and len(indexed) > 1:
            found = _joined(found, await self._matching(wish, indexed, indexed, limit, every=False))
        if not found and len(indexed) < len(wish.stems):
            found = await self._scanned(wish, limit)
        return found[:limit]

    async def _matching(
        self, wish: Wish, stems: Sequence[str], indexed: Sequence[str], limit: int, *, every: bool
    ) -> Rows:
        """Return products that mention every stem, or any.

        `indexed` are the stems that the index can find.
        """
        hits = [search.mentions(stem) for stem in stems]
        fits = and_(*hits) if every else or_(*hits)
        sieve = self._sieve(indexed, every=every).limit(MOST_LOOKED + 1).subquery()
        many = await self._db.read(lambda c: c.scalar(select(func.count()).select_from(sieve))) or 0
        if many > MOST_LOOKED and every:
            return await self._rows(_ordered(self._wished(wish).where(fits), wish).limit(limit))
        looked = self._sieve(indexed, every=every).limit(MOST_LOOKED).subquery()
        statement = self._wished(wish).where(fits, product.c.id.in_(select(looked.c.id)))
        return await self._rows(_ordered(statement, wish, _count(hits)).limit(limit))

    def _sieve(self, stems: Sequence[str], *, every: bool) -> Select[Any]:
        """Return a query for the ids that the index finds."""
        if self._db.is_sqlite:
            return search.found(stems, every=every)
        hits = [search.mentions(stem) for stem in stems]
        return select(product.c.id).where(and_(*hits) if every else or_(*hits))

    async def _scanned(self, wish: Wish, limit: int) -> Rows:
        """Return products with words that no index finds. Each statement scans `search.STRIDE` ids."""
        hits = [search.mentions(stem) for stem in wish.stems]
        statement = _ordered(self._wished(wish).where(or_(*hits)), wish, _count(hits)).limit(limit)
        found: Rows = []
        async for start, stop in search.strides(self._db):
            within = (product.c.id > start, product.c.id <= stop)
            found += await self._rows(statement.where(*within))
            if len(found) >= limit:
                break
        return found

    def _wished(self, wish: Wish) -> Select[Any]:
        statement = search.bounded(select(*self._columns), wish.min_price, wish.max_price)
        return statement.where(product.c.category == int(wish.category)) if wish.category else statement

    async def _rows(self, statement: Select[Any]) -> Rows:
        return list(await self._db.read(lambda c: c.execute(statement).all()))


def _ordered(statement: Select[Any], wish: Wish, *first: ColumnElement[Any]) -> Select[Any]:
    """Order by the wish's ranking, or else in an order that an index provides."""
    price = product.c.price
    match wish.ranking:
        case Ranking.CHEAPEST:
            return statement.order_by(*first, price, product.c.id)
        case Ranking.DEAREST:
            return statement.order_by(*first, price.desc(), product.c.id.desc())
    if not wish.stems and (wish.min_price or wish.max_price):
        return statement.order_by(price, product.c.id)
    return statement.order_by(*first, product.c.id)


def _count(hits: Sequence[ColumnElement[bool]]) -> ColumnElement[Any]:
    return sum((case((hit, 1), else_=0) for hit in hits), literal(0)).desc()


def _joined(found: Rows, more: Rows) -> Rows:
    known = {row[0] for row in found}
    return found + [row for row in more if row[0] not in known]
