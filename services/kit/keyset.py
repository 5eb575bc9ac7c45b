"""Reads pages of a listing with SQL: see `services.kit.paging`."""

from typing import Any

import sqlalchemy as sa

from services.kit.paging import Page, Slice

#: The most rows that one statement skips, for a page that is requested by its number.
STRIDE = 10_000


def read_page(
    connection: sa.Connection,
    statement: sa.Select[Any],
    key: sa.ColumnElement[int],
    page: Page,
    *,
    newest_first: bool = False,
) -> Slice[sa.Row[Any]]:
    """Return a page of the rows that a statement selects.

    Args:
        statement: A SELECT with the listing's conditions, without an order.
        key: The column that orders the rows. An index must begin with the columns that the conditions fix,
            followed by this one.
        newest_first: Whether the key falls from row to row.
    """
    place = _passed(connection, statement, key, page, newest_first)
    if place is None and page.skip:
        return Slice()
    rows = connection.execute(_after(statement, key, place, page.limit + 1, newest_first)).all()
    name = key.key
    assert name is not None  # a column's
    return Slice.of(rows, page.limit, lambda row: int(row._mapping[name]))


def _passed(
    connection: sa.Connection,
    statement: sa.Select[Any],
    key: sa.ColumnElement[int],
    page: Page,
    newest_first: bool,
) -> int | None:
    """Return the key after which the page begins. None means the first row, or that there is no such page."""
    place, left = page.after, page.skip
    keys = statement.with_only_columns(key.label("key"))
    while left:
        passed = _after(keys, key, place, min(left, STRIDE), newest_first).subquery()
        end = (sa.func.min if newest_first else sa.func.max)(passed.c.key)
        count, place = connection.execute(sa.select(sa.func.count(), end).select_from(passed)).one()
        if count < min(left, STRIDE):
            return None
        left -= count
    return place


def _after(
    statement: sa.Select[Any], key: sa.ColumnElement[int], place: int | None, limit: int, newest_first: bool
) -> sa.Select[Any]:
    if place is not None:
        statement = statement.where(key < place if newest_first else key > place)
    return statement.order_by(key.desc() if newest_first else key).limit(limit)
