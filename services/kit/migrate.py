"""Brings a service's tables to the newest version, and seeds them. The only importer of Alembic."""

import asyncio
import importlib
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

import services
from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable
from services.kit.db import Database
from services.kit.transient import why_refused

#: Seconds to wait for another migration of the same database.
LOCK_TIMEOUT = 60.0
#: Seconds to wait for a database that is not there, and between two attempts.
REACH_TIMEOUT, REACH_INTERVAL = 20.0, 0.25
_KIT = Path(__file__).parent / "migrations"


async def migrate(url: str, service: str, *, seed: bool = True, revision: str = "head") -> None:
    """Runs every migration that the database lacks, in one transaction, then the service's seed.

    Args:
        seed: Whether to fill a new database.
        revision: The last migration to run; for tests of those after it.

    Safe to repeat, and safe when two run at once: the second waits, then finds nothing to do. A database
    that is not there is waited for.

    Raises:
        ConfigError: the database lets nobody in, or the URL is none.
        Unavailable: it is out of reach for longer than `REACH_TIMEOUT`.
    """
    async with Database.open(url, service, lock_timeout=LOCK_TIMEOUT) as db:
        await _reach(db)
        await db.write(lambda connection: _upgrade(connection, db, revision))
        if seed:
            await importlib.import_module(f"services.{service}.seed").seed(db)


async def _reach(db: Database) -> None:
    """Returns when the database answers."""
    give_up = asyncio.get_running_loop().time() + REACH_TIMEOUT
    while True:
        try:
            await db.read(lambda connection: connection.execute(text("SELECT 1")))
            return
        except Unavailable as e:
            if problem := why_refused(e.__cause__):
                raise ConfigError([f"MESHMART_DATABASE_URL: {problem}"]) from e
            if asyncio.get_running_loop().time() > give_up:
                raise Unavailable(f"{e.message}: {e.__cause__}") from e
            await asyncio.sleep(REACH_INTERVAL)


def _upgrade(connection: Connection, db: Database, revision: str) -> None:
    if not db.is_sqlite:
        # BEGIN IMMEDIATE locks the SQLite file; PostgreSQL needs to be told, and may take its time.
        connection.execute(text(f"SET LOCAL statement_timeout = '{LOCK_TIMEOUT:.0f}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": db.service})
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{db.service}"'))
    config = Config()
    config.set_main_option("script_location", str(_KIT))
    versions = Path(services.__path__[0]) / db.service / "migrations" / "versions"
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")  # a path may hold any other character
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
