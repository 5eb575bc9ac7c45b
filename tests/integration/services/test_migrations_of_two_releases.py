"""While a release is rolled out, the one before it uses the tables that the new one has migrated already.

So a migration keeps every table and column that was there, lets a row be written without what it adds, and
refuses no row that was right (docs/operations.md). It runs on SQLite; the migrations are the same on
PostgreSQL.
"""

import sqlite3
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from services.kit.migrate import migrate
from tests.integration.services.schemakit import Table, breaks, tables

SERVICES = Path(__file__).parents[3] / "services"


@pytest.mark.parametrize(
    "versions", sorted(SERVICES.glob("*/migrations/versions")), ids=lambda p: p.parts[-3]
)
async def test_the_release_before_can_use_the_tables_after_each_migration(
    versions: Path, tmp_path: Path
) -> None:
    file, before = tmp_path / "shop.db", dict[str, Table]()
    url, service = f"sqlite+aiosqlite:///{file}", versions.parts[-3]
    for revision in reversed(list(ScriptDirectory(str(versions.parent)).walk_revisions())):
        await migrate(url, service, seed=False, revision=revision.revision)
        with sqlite3.connect(file) as database:
            after = tables(database)
        assert breaks(before, after) == [], revision.path
        before = after
    assert len(before) > 1


#: The table of the release before.
ORDERS = """
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, note TEXT, kind TEXT NOT NULL DEFAULT 'web', total INT CHECK (total >= 0)
);
CREATE UNIQUE INDEX by_note ON orders (note);
CREATE INDEX by_kind ON orders (kind);
CREATE TRIGGER counted AFTER INSERT ON orders BEGIN SELECT 1; END;
"""


def changed(change: str) -> list[str]:
    """Return what the release before cannot do after a change."""
    with sqlite3.connect(":memory:") as database:
        database.executescript(ORDERS)
        before = tables(database)
        database.executescript(change)
        return breaks(before, tables(database))


def rebuilt(was: str, now: str) -> str:
    """Return a script that makes the table anew, as SQLite needs for most changes."""
    assert was in ORDERS
    return "DROP TABLE orders;" + ORDERS.replace(was, now)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("DROP TABLE orders", "orders is gone"),
        ("ALTER TABLE orders RENAME TO purchases", "orders is gone"),
        ("DROP INDEX by_kind; ALTER TABLE orders DROP COLUMN kind", "orders.kind is gone"),
        ("ALTER TABLE orders RENAME COLUMN kind TO sort", "orders.kind is gone"),
        (rebuilt("note TEXT", "note TEXT NOT NULL"), "orders.note must not be NULL now"),
        (rebuilt("note TEXT", "note TEXT NOT NULL DEFAULT ''"), "orders.note must not be NULL now"),
        (rebuilt("note TEXT,", "note TEXT, vat INT NOT NULL,"), "orders.vat is needed now"),
        (rebuilt("note TEXT", "note BLOB"), "orders.note is BLOB instead of TEXT"),
        (rebuilt(" DEFAULT 'web'", ""), "orders.kind has lost its default"),
        (
            rebuilt("INTEGER PRIMARY KEY", "INTEGER").replace(
                "(total >= 0)", "(total >= 0), PRIMARY KEY (kind, id)"
            ),
            "orders has the key kind, id instead of id",
        ),
        ("CREATE UNIQUE INDEX new ON orders (total)", "orders: total must be unique now"),
        ("CREATE UNIQUE INDEX new ON orders (lower(kind))", "orders: (expression) must be unique now"),
        ("CREATE UNIQUE INDEX new ON orders (kind, total)", "orders: kind, total must be unique now"),
        (rebuilt("total INT", "total INT UNIQUE"), "orders: total must be unique now"),
        (
            "ALTER TABLE orders ADD turn INT NOT NULL DEFAULT 0; CREATE UNIQUE INDEX new ON orders (turn)",
            "orders: turn must be unique now",
        ),
        ("DROP INDEX by_note", "orders: note may be twice now"),
        (
            "CREATE UNIQUE INDEX new ON orders (kind) WHERE total > 9",
            "orders: kind where total > 9 must be unique now",
        ),
        (rebuilt("note TEXT", "note TEXT CHECK (note <> '')"), "orders has a new check: note <> ''"),
        (rebuilt("total >= 0", "total > 0"), "orders has a new check: total > 0"),
        (rebuilt("note TEXT", "note TEXT REFERENCES notes (id)"), "orders.note refers to notes now"),
        ("DROP TRIGGER counted", "orders has no trigger counted any more"),
        (
            "CREATE TRIGGER kept BEFORE DELETE ON orders BEGIN SELECT RAISE(ABORT, 'no'); END",
            "orders has a trigger that may refuse: kept",
        ),
    ],
)
def test_a_change_that_the_release_before_cannot_bear_is_found(change: str, told: str) -> None:
    assert changed(change) == [told]


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE mail (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE CHECK (body <> ''))",
        "ALTER TABLE orders ADD COLUMN vat INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE orders ADD COLUMN shop TEXT",
        # The release before leaves it NULL, and any number of rows may have that.
        "ALTER TABLE orders ADD COLUMN turn INT; CREATE UNIQUE INDEX new ON orders (turn)",
        "DROP INDEX by_note; CREATE UNIQUE INDEX renamed ON orders (note)",
        "DROP INDEX by_kind; CREATE INDEX renamed ON orders (kind); CREATE INDEX more ON orders (total)",
        "DROP INDEX by_kind",
        rebuilt("note TEXT,", "note TEXT, vat INT,"),
        rebuilt("CHECK (total >= 0)", ""),
        "CREATE TRIGGER added AFTER INSERT ON orders BEGIN SELECT 1; END",
    ],
)
def test_what_the_release_before_need_not_know_is_allowed(change: str) -> None:
    assert changed(change) == []
