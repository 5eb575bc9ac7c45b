"""Migrated SQLite files: made once per service and test run, copied for each test."""

import asyncio
import functools
import shutil
import tempfile
from pathlib import Path

from services.kit.migrate import migrate


def fresh_url(service: str, directory: Path) -> str:
    """The URL of a new, migrated and seeded database in `directory`."""
    path = directory / f"{service}.db"
    shutil.copyfile(_template(service), path)
    return f"sqlite:///{path}"


@functools.cache
def _template(service: str) -> Path:
    path = Path(tempfile.mkdtemp(prefix="meshmart-template-")) / f"{service}.db"
    asyncio.run(migrate(f"sqlite:///{path}", service))
    return path
