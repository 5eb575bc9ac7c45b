"""The catalogue in SQLite or PostgreSQL. `stock` moves its stock for orders."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from services.kit.db import Database
from services.kit.keyset import read_page
from services.kit.paging import Page, Slice
from services.kit.text import fold
from services.product import ledger, search
from services.product.candidates import Candidates
from services.product.domain import Category, Criteria, Draft, Edit, Product, Wish
from services.product.ledger import Kind, Movement
from services.product.stock import enter, lately, now_us
from services.product.tables import product

#: The products that a search reads at a time: in the first batch, enough for a page, and in later ones.
_FIRST, _BATCH = 100, 1000
_COLUMNS = tuple(c for c in product.c if c.name != "search_text")
_NAMES = tuple(c.name for c in _COLUMNS)
_BY_ID = select(*_COLUMNS).where(product.c.id == bindparam("id"))
_BY_IDS = select(*_COLUMNS).where(product.c.id.in_(bindparam("ids", expanding=True)))


def row_of(draft: Draft | Product, now: int) -> dict[str, Any]:
    """Return the columns that a draft determines. `now` is in Unix microseconds."""
    return {
        "name": draft.name,
        "description": draft.description,
        "price": draft.price,
        "stock": draft.stock,
        "category": int(draft.category),
        "tags": json.dumps(draft.tags, ensure_ascii=False),
        "search_text": fold(f"{draft.name}\n{draft.description}"),
        "updated_at": now,
    }


class SqlProducts:
    """Implements the port `ProductStore`."""

    def __init__(self, db: Database, clock: Callable[[], int] = now_us) -> None:
        self._db, self._clock = db, clock
        self._candidates = Candidates(db, _COLUMNS)

    async def get(self, product_id: int) -> Product | None:
        row = await self._db.lookup(_BY_ID, id=product_id)
        return _product(row) if row else None

    async def get_all(self, product_ids: Sequence[int]) -> Sequence[Product]:
        statement, ids = _BY_IDS, {"ids": list(dict.fromkeys(product_ids))}
        rows = await self._db.read(lambda c: c.execute(statement, ids).all()) if product_ids else []
        return [_product(row) for row in rows]

    async def page(self, category: Category, page: Page) -> Slice[Product]:
        statement = _filtered(category)
        rows = await self._db.read(lambda c: read_page(c, statement, product.c.id, page))
        return rows.map(_product)

    async def search(self, criteria: Criteria) -> AsyncIterator[Product]:
        query = fold(criteria.query)
        if not search.is_indexed(query):
            async for each in self._scan(criteria, query):
                yield each
            return
        matching, place, last, most = self._matching(criteria, query), self._place(query), 0, _FIRST
        while True:
            # No connection is held while the caller reads.
            found = await self._products(matching.where(place > last).limit(most))
            for each in found:
                yield each
            if len(found) < most:
                return
            last, most = found[-1].id, _BATCH

    async def _scan(self, criteria: Criteria, query: str) -> AsyncIterator[Product]:
        """Yield the matches of a search that no index helps: each statement scans `search.STRIDE` ids."""
        matching = search.bounded(_filtered(criteria.category), criteria.min_price, criteria.max_price)
        matching = matching.where(search.contains(query)) if query else matching
        matching = matching.order_by(product.c.id).limit(_FIRST)
        async for last, stop in search.strides(self._db):
            while last < stop:
                found = await self._products(matching.where(product.c.id > last, product.c.id <= stop))
                for each in found:
                    yield each
                last = found[-1].id if len(found) == _FIRST else stop

    def _matching(self, criteria: Criteria, query: str) -> Select[Any]:
        statement = _filtered(criteria.category).order_by(self._place(query))
        statement = search.narrowed(statement, query, on_sqlite=self._db.is_sqlite)
        statement = statement.where(search.contains(query))
        return search.bounded(statement, criteria.min_price, criteria.max_price)

    def _place(self, query: str) -> ColumnElement[int]:
        return search.place(query, on_sqlite=self._db.is_sqlite)

    async def add(self, drafts: Sequence[Draft]) -> Sequence[Product]:
        now = self._clock()
        rows = [{**row_of(draft, now), "created_at": now} for draft in drafts]
        statement = insert(product).returning(*_COLUMNS, sort_by_parameter_order=True)

        def add(c: Connection) -> list[Product]:
            added = [_product(row) for row in c.execute(statement, rows).all()]
            enter(c, [Movement(p.id, Kind.RECEIVE, p.stock, 0, p.stock) for p in added if p.stock], now)
            return added

        return await self._db.write(add)

    async def candidates(self, wish: Wish, limit: int) -> Sequence[Product]:
        return [_product(row) for row in await self._candidates.find(wish, limit)]

    async def edit(self, edit: Edit) -> Product | None:
        return await self._db.write(lambda c: self._edit(c, edit))

    def _edit(self, c: Connection, edit: Edit) -> Product | None:
        row = c.execute(_BY_ID.with_for_update(), {"id": edit.product_id}).first()
        if row is None:
            return None
        before, now = _product(row), self._clock()
        if edit.version not in (0, before.version):
            if edit.is_made(before):
                return before
            raise edit.conflict(before)
        recent = lately(c, edit.product_id, now) if edit.stock is not None else ()
        stock = ledger.stock_of_edit(before.stock, edit.stock, edit.stock_named, recent)
        after = replace(edit.applied(before), stock=stock)
        change = update(product).values(row_of(after, now) | {"version": before.version + 1})
        enter(c, ledger.corrected(before.id, before.stock, stock, ledger.EDITED, edit.user_id), now)
        made = c.execute(change.where(product.c.id == before.id).returning(*_COLUMNS))
        return _product(made.one())  # its row is locked

    async def remove(self, product_id: int, user_id: int) -> bool:
        statement = delete(product).where(product.c.id == product_id).returning(product.c.stock)

        def remove(c: Connection) -> bool:
            stock = c.scalar(statement)
            if stock is None:
                return False
            enter(c, ledger.corrected(product_id, stock, 0, ledger.DELETED, user_id), self._clock())
            return True

        return await self._db.write(remove)

    async def _products(self, statement: Select[Any]) -> list[Product]:
        return [_product(row) for row in await self._db.read(lambda c: c.execute(statement).all())]


def _product(row: Row[Any] | Sequence[Any]) -> Product:
    """Return the product in a row of `_COLUMNS`, which are named like the fields."""
    values = dict(zip(_NAMES, row, strict=True))
    return Product(**{**values, "tags": json.loads(values["tags"])})


def _filtered(category: Category) -> Select[Any]:
    statement = select(*_COLUMNS)
    return statement.where(product.c.category == int(category)) if category else statement
