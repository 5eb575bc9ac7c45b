"""While a release is rolled out, the one before it uses the tables that the new one has migrated already.

So a migration keeps every table and column that was there, and lets a row be written without what it adds
(docs/operations.md). It runs on SQLite; the migrations are the same on PostgreSQL.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from services.kit.migrate import migrate

SERVICES = Path(__file__).parents[3] / "services"


@dataclass(frozen=True)
class Column:
    """A column, and whether a row needs a value for it."""

    name: str
    kind: str
    needed: bool


Tables = dict[str, dict[str, Column]]


def tables(database: sqlite3.Connection) -> Tables:
    """Return the columns of each table."""
    names = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: {column.name: column for column in _columns(database, name)} for name in names}


def _columns(database: sqlite3.Connection, table: str) -> Iterator[Column]:
    for _, name, kind, not_null, default, key in database.execute(f'PRAGMA table_info("{table}")'):
        yield Column(name, kind, bool(not_null and default is None and not key))


def breaks(before: Tables, after: Tables) -> list[str]:
    """Return what a release that knows the tables of `before` cannot do with those of `after`."""
    found = [f"{table} is gone" for table in before.keys() - after.keys()]
    for table in before.keys() & after.keys():
        old, new = before[table], after[table]
        found += [f"{table}.{name} is gone" for name in old.keys() - new.keys()]
        found += [
            f"{table}.{name} is needed now" for name, c in new.items() if c.needed and not _needed(old, name)
        ]
        found += [
            f"{table}.{name} is {new[name].kind} instead of {old[name].kind}"
            for name in old.keys() & new.keys()
            if old[name].kind != new[name].kind
        ]
    return sorted(found)


def _needed(columns: dict[str, Column], name: str) -> bool:
    return name in columns and columns[name].needed


@pytest.mark.parametrize(
    "versions", sorted(SERVICES.glob("*/migrations/versions")), ids=lambda p: p.parts[-3]
)
async def test_the_release_before_can_use_the_tables_after_each_migration(
    versions: Path, tmp_path: Path
) -> None:
    file, before = tmp_path / "shop.db", Tables()
    url, service = f"sqlite+aiosqlite:///{file}", versions.parts[-3]
    for revision in reversed(list(ScriptDirectory(str(versions.parent)).walk_revisions())):
        await migrate(url, service, seed=False, revision=revision.revision)
        with sqlite3.connect(file) as database:
            after = tables(database)
        assert breaks(before, after) == [], revision.path
        before = after
    assert len(before) > 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP TABLE orders", "orders is gone"),
        ("ALTER TABLE orders RENAME TO purchases", "orders is gone"),
        ("ALTER TABLE orders DROP COLUMN note", "orders.note is gone"),
        ("ALTER TABLE orders RENAME COLUMN note TO remark", "orders.note is gone"),
        (
            "DROP TABLE orders; CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL)",
            "orders.note is needed now",
        ),
        (
            "DROP TABLE orders; CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT, vat INT NOT NULL)",
            "orders.vat is needed now",
        ),
        (
            "DROP TABLE orders; CREATE TABLE orders (id INTEGER PRIMARY KEY, note BLOB)",
            "orders.note is BLOB instead of TEXT",
        ),
    ],
)
def test_a_change_that_the_release_before_cannot_bear_is_found(change: str, told: str) -> None:
    with sqlite3.connect(":memory:") as database:
        database.executescript("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)")
        before = tables(database)
        database.executescript(change)
        assert breaks(before, tables(database)) == [told]


def test_what_is_added_and_may_be_left_out_is_allowed() -> None:
    with sqlite3.connect(":memory:") as database:
        database.executescript("CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT NOT NULL)")
        before = tables(database)
        database.executescript(
            "CREATE TABLE mail (id INTEGER PRIMARY KEY, body TEXT NOT NULL);"
            "ALTER TABLE orders ADD COLUMN vat INTEGER NOT NULL DEFAULT 0;"
            "ALTER TABLE orders ADD COLUMN kind TEXT"
        )
        assert breaks(before, tables(database)) == []
