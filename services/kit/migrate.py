"""Brings a service's tables to the newest version, and seeds them. The only importer of Alembic."""

import importlib
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

import services
from services.kit.db import Database

#: Seconds to wait for another migration of the same database.
LOCK_TIMEOUT = 60.0
_KIT = Path(__file__).parent / "migrations"


async def migrate(url: str, service: str, *, seed: bool = True) -> None:
    """Runs every migration that the database lacks, in one transaction, then the service's seed.

    Safe to repeat, and safe when two run at once: the second waits, then finds nothing to do.
    """
    async with Database.open(url, service, lock_timeout=LOCK_TIMEOUT) as db:
        async with db.transaction() as connection:
            if not db.is_sqlite:
                # BEGIN IMMEDIATE locks the SQLite file; PostgreSQL needs to be told.
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": service}
                )
                await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{service}"'))
            await connection.run_sync(_upgrade, service)
        if seed:
            await importlib.import_module(f"services.{service}.seed").seed(db)


def _upgrade(connection: Connection, service: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(_KIT))
    versions = Path(services.__path__[0]) / service / "migrations" / "versions"
    config.set_main_option("version_locations", str(versions))
    config.set_main_option("path_separator", "newline")  # a path may hold any other character
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
