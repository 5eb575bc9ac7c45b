"""Reads what the tables of an SQLite database demand of a row, and compares that of two releases."""

import re
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

#: What refuses a statement within a trigger.
_REFUSES = re.compile(r"\bRAISE\b", re.IGNORECASE)
_WHERE = re.compile(r"\sWHERE\s+", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column, and what a row that is written without it, or with NULL, gets."""

    name: str
    kind: str
    not_null: bool
    default: str | None
    key: bool

    @property
    def needed(self) -> bool:
        """Return whether a row needs a value for it. SQLite numbers rows itself if it is their key."""
        return self.not_null and self.default is None and not self.key

    @property
    def left_empty(self) -> bool:
        """Return whether it is NULL in rows of a release that does not know it."""
        return not self.not_null and self.default is None


@dataclass(frozen=True)
class Table:
    """A table. Indexes and constraints have no names here: the shop's code uses none."""

    columns: Mapping[str, Column] = field(default_factory=dict)
    key: Sequence[str] = ()
    #: The columns of each unique index or constraint but the key; `(expression)` for an expression. The last
    #: one has the condition of a partial index.
    unique: Collection[tuple[str, ...]] = ()
    checks: Collection[str] = ()
    #: The columns that refer to another table, and what they refer to.
    foreign: Collection[str] = ()
    #: The text of each trigger.
    triggers: Mapping[str, str] = field(default_factory=dict)


Tables = Mapping[str, Table]


def tables(database: sqlite3.Connection) -> Tables:
    """Return the tables by name."""
    engine = sa.create_engine("sqlite://", creator=lambda: database, poolclass=StaticPool)
    inspector = sa.inspect(engine)
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: Table(
            _columns(database, name),
            _key(database, name),
            set(_unique(database, name)),
            {check["sqltext"] for check in inspector.get_check_constraints(name)},
            {f"{row[3]} refers to {row[2]}" for row in _pragma(database, "foreign_key_list", name)},
            _triggers(database, name),
        )
        for name in names
    }


def _pragma(database: sqlite3.Connection, pragma: str, name: str) -> list[tuple[str, ...]]:
    return database.execute(f'PRAGMA {pragma}("{name}")').fetchall()


def _columns(database: sqlite3.Connection, table: str) -> Mapping[str, Column]:
    rows = _pragma(database, "table_info", table)
    return {
        name: Column(name, kind, bool(not_null), default, bool(key))
        for _, name, kind, not_null, default, key in rows
    }


def _key(database: sqlite3.Connection, table: str) -> Sequence[str]:
    """Return the columns of the primary key in their order."""
    places = {int(place): name for _, name, _, _, _, place in _pragma(database, "table_info", table) if place}
    return [places[place] for place in sorted(places)]


def _unique(database: sqlite3.Connection, table: str) -> Iterator[tuple[str, ...]]:
    for _, index, unique, origin, partial in _pragma(database, "index_list", table):
        if unique and origin != "pk":
            columns = [name or "(expression)" for _, _, name in _pragma(database, "index_info", index)]
            if partial:
                (sql,) = database.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()
                columns[-1] += f" where {_WHERE.split(sql)[-1]}"
            yield tuple(columns)


def _triggers(database: sqlite3.Connection, table: str) -> Mapping[str, str]:
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
    return dict(database.execute(query, (table,)).fetchall())


def breaks(before: Tables, after: Tables) -> list[str]:
    """Return what a release that knows the tables of `before` cannot do with those of `after`."""
    found = [f"{table} is gone" for table in before.keys() - after.keys()]
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        found += [f"{name}{told}" for told in (*_of_columns(old, new), *_of_rules(old, new))]
    return sorted(found)


def _of_columns(old: Table, new: Table) -> Iterator[str]:
    for name in old.columns.keys() - new.columns.keys():
        yield f".{name} is gone"
    for name in new.columns.keys() - old.columns.keys():
        if new.columns[name].needed:
            yield f".{name} is needed now"
    for name in old.columns.keys() & new.columns.keys():
        was, now = old.columns[name], new.columns[name]
        if was.kind != now.kind:
            yield f".{name} is {now.kind} instead of {was.kind}"
        if now.not_null and not was.not_null:
            yield f".{name} must not be NULL now"
        if was.default is not None and now.default is None:
            yield f".{name} has lost its default"


def _of_rules(old: Table, new: Table) -> Iterator[str]:
    if list(old.key) != list(new.key):
        yield f" has the key {', '.join(new.key)} instead of {', '.join(old.key)}"
    for columns in set(new.unique) - set(old.unique):
        # Rows in which one of the columns is NULL are all different.
        if not any(c not in old.columns and c in new.columns and new.columns[c].left_empty for c in columns):
            yield f": {', '.join(columns)} must be unique now"
    # `ON CONFLICT` needs the index, and whoever reads relies on it.
    yield from (f": {', '.join(columns)} may be twice now" for columns in set(old.unique) - set(new.unique))
    yield from (f" has a new check: {check}" for check in set(new.checks) - set(old.checks))
    yield from (f".{reference} now" for reference in set(new.foreign) - set(old.foreign))
    yield from (f" has no trigger {name} any more" for name in old.triggers.keys() - new.triggers.keys())
    for name, text in new.triggers.items():
        if text != old.triggers.get(name) and _REFUSES.search(text):
            yield f" has a trigger that may refuse: {name}"
