"""Brings a service's tables to the newest version, and seeds them. The only module that imports Alembic.

The shop may run meanwhile. On SQLite all migrations are one transaction, which holds the file's lock. On
PostgreSQL each migration is a transaction of its own, so those that succeeded are kept. Its timeouts differ
from a service's: a statement may run long (a large table) but waits only briefly for a lock, because
everybody who asks for that lock later queues behind it; then the migration is tried again. Indexes are built
by `services.kit.online`, without blocking writers.
"""

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, PendingRollbackError

import services
from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable
from services.kit import roles
from services.kit.db import Database
from services.kit.transient import cause_of, may_not, translated, why_refused

if TYPE_CHECKING:
    import asyncpg

_log = logging.getLogger(__name__)

#: Seconds to wait for another migration of the same database, and for SQLite's lock.
LOCK_TIMEOUT = 60.0
#: On PostgreSQL: seconds that a statement waits for a lock, and seconds that it may run.
DDL_LOCK_TIMEOUT, DDL_TIMEOUT = 2.0, 3600.0
#: Attempts to acquire the lock, and the backoff between two in seconds: the first pause, doubled up to the
#: last.
ATTEMPTS, FIRST_PAUSE, LAST_PAUSE = 30, 0.5, 10.0
#: Seconds to wait for a database that does not answer, and seconds between two attempts.
REACH_TIMEOUT, REACH_INTERVAL = 20.0, 0.25
_KIT = Path(__file__).parent / "migrations"


async def migrate(
    url: str,
    service: str,
    *,
    seed: bool = True,
    revision: str = "head",
    options: Mapping[str, Any] | None = None,
    role: roles.Role | None = None,
) -> None:
    """Run every migration that the database lacks, then the service's seed.

    Args:
        url: The database, as in `services.kit.db.Database`.
        service: The service's name.
        seed: Whether to fill a new database.
        revision: The last migration to run; for tests of later migrations.
        options: Arguments of the service's seed.
        role: The role that the service logs in as, on PostgreSQL. If None, it uses the role that migrates.

    It is safe to repeat and safe to run twice at once: the second run waits, then finds nothing to do. If the
    database does not answer yet, it waits for it. Tables that a newer release has migrated are left as they
    are, and not seeded.

    Raises:
        ConfigError: the database refuses the login or a right, the URL is not valid, or the role cannot be
            created.
        Unavailable: the database is out of reach for longer than `REACH_TIMEOUT`, or a lock was not acquired
            in `ATTEMPTS` attempts.
    """
    on_sqlite = url.startswith("sqlite")
    wait = LOCK_TIMEOUT if on_sqlite else DDL_LOCK_TIMEOUT
    async with Database.open(url, service, lock_timeout=wait, statement_timeout=DDL_TIMEOUT) as db:
        await _reach(db)
        async with nullcontext() if on_sqlite else _exclusively(url, service):
            known = await _tried(db, revision, concurrently=_concurrently(url))
            if role is not None and not on_sqlite:
                await roles.make(db, role)
        if seed and known:
            await importlib.import_module(f"services.{service}.seed").seed(db, **(options or {}))


@asynccontextmanager
async def _exclusively(url: str, service: str) -> AsyncIterator[None]:
    """Hold the service's migration lock until the end of the block.

    The lock is polled for: a statement that waited for it would hold a snapshot, for whose end CREATE INDEX
    CONCURRENTLY waits. It belongs to a transaction because a pooler may give each transaction another
    connection.

    Raises:
        Unavailable: another migration holds the lock for longer than `LOCK_TIMEOUT`.
    """
    from services.kit import dsn, postgres

    async with translated():
        connection = await postgres.connect(dsn.parse(make_url(url)), service, LOCK_TIMEOUT)
    try:
        give_up = asyncio.get_running_loop().time() + LOCK_TIMEOUT
        while not await _locked(connection, service):
            if asyncio.get_running_loop().time() > give_up:
                raise Unavailable(f"another migration of {service} is running")
            await asyncio.sleep(REACH_INTERVAL)
        yield
    finally:
        connection.terminate()


async def _locked(connection: "asyncpg.Connection", service: str) -> bool:
    """Try to take the lock in a transaction that stays open. Return whether it was acquired."""
    transaction = connection.transaction()
    await transaction.start()
    if await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext($1))", service):
        # After the look: the statement before it in a transaction keeps its snapshot until the next.
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        return True
    await transaction.rollback()
    return False


async def _tried(db: Database, revision: str, *, concurrently: bool) -> bool:
    """Run the migrations, and try again if a lock was not acquired. Completed migrations are not repeated.

    Return whether the tables are those of this release, not of a newer one.
    """
    attempt, pause = 1, FIRST_PAUSE
    while True:
        try:
            return await db.alone(lambda connection: _upgrade(connection, db, revision, concurrently))
        except (Unavailable, PendingRollbackError) as e:  # the latter: the connection was lost
            if attempt == ATTEMPTS or db.is_sqlite:
                why = cause_of(e) if isinstance(e, Unavailable) else ""
                raise Unavailable(f"{db.service} cannot be migrated: {why or e}") from e
        except DBAPIError as e:
            if not may_not(e):
                raise
            problem = f"its user may not migrate {db.service}: {e.orig}"
            raise ConfigError([f"MESHMART_DATABASE_URL: {problem}"]) from e
        await asyncio.sleep(pause)
        attempt, pause = attempt + 1, min(2 * pause, LAST_PAUSE)


async def _reach(db: Database) -> None:
    """Wait until the database answers.

    Raises:
        ConfigError: the database refuses the connection, and waiting does not help.
        Unavailable: it did not answer for `REACH_TIMEOUT`.
    """
    give_up = asyncio.get_running_loop().time() + REACH_TIMEOUT
    while True:
        try:
            await db.read(lambda connection: connection.execute(text("SELECT 1")))
            return
        except Unavailable as e:
            if problem := why_refused(e.__cause__):
                raise ConfigError([f"MESHMART_DATABASE_URL: {problem}"]) from e
            if asyncio.get_running_loop().time() > give_up:
                raise Unavailable(f"{e.message}: {cause_of(e)}") from e
            await asyncio.sleep(REACH_INTERVAL)


def _concurrently(url: str) -> bool:
    """Return whether an index can be built outside of a transaction.

    Not on SQLite, and not behind a pooler that shares connections per transaction: a statement outside of a
    transaction has no `search_path` there.
    """
    return not url.startswith("sqlite") and make_url(url).query.get("pooling") != "transaction"


def _upgrade(connection: Connection, db: Database, revision: str, concurrently: bool) -> bool:
    """Run the migrations. Return whether this release knows the tables: a newer one may have migrated them.

    Then they are left as they are: migrations only add, so that the older release works with them.
    """
    if not db.is_sqlite:
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{db.service}"'))
        connection.commit()
    config = Config()
    config.set_main_option("script_location", str(_KIT))
    versions = Path(services.__path__[0]) / db.service / "migrations" / "versions"
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")  # a path may hold any other character
    config.attributes["connection"] = connection
    config.attributes["concurrently"] = concurrently
    if newer := _newer(connection, config):
        _log.warning("%s: a newer release has migrated its tables, to %s: nothing is done", db.service, newer)
        return False
    command.upgrade(config, revision)
    return True


def _newer(connection: Connection, config: Config) -> str:
    """Return the tables' revision if this release has no such migration, else ""."""
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if connection.dialect.name != "sqlite":
        connection.commit()  # each migration is to be a transaction of its own
    return "" if current is None or current in known else current
