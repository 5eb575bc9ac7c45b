"""Migrated databases, new for each test: made once per set of services and run, then copied."""

import asyncio
import functools
import itertools
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import asyncpg
import pytest
from hypothesis import settings
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only

from services.kit.db import Database, Work, database_url
from services.kit.migrate import migrate
from services.user import seed
from services.user.passwords import Cost, ScryptPasswords
from tests.postgres import Postgres

T = TypeVar("T")


@dataclass(frozen=True)
class Databases:
    """One test's databases, for as many replicas as it likes."""

    #: What a service's process would find: MESHMART_DATABASE_URL or MESHMART_DATA_DIR.
    environ: Mapping[str, str]

    def url(self, service: str) -> str:
        return database_url(service, self.environ)

    @property
    def on_sqlite(self) -> bool:
        return "MESHMART_DATA_DIR" in self.environ

    def examples(self, number: int) -> int:
        """How many a property test tries: fewer where the profile tries fewer (see tests/conftest.py);
        PostgreSQL gets a quarter, as the code is the same."""
        number = number * settings().max_examples // 100
        return number if self.on_sqlite else max(5, number // 4)


class Maker(Protocol):
    """Makes databases that are migrated and seeded for these services; without any, empty ones."""

    def __call__(self, *services: str) -> Databases: ...


@dataclass
class SqliteMaker:
    """Files in a directory."""

    directory: Path

    def __call__(self, *services: str) -> Databases:
        for service in services:
            shutil.copyfile(_sqlite_template(service), self.directory / f"{service}.db")
        return Databases({"MESHMART_DATA_DIR": str(self.directory)})


@functools.cache
def _sqlite_template(service: str) -> Path:
    path = Path(tempfile.mkdtemp(prefix="meshmart-template-")) / f"{service}.db"
    with _cheap_passwords():
        _done(migrate(f"sqlite:///{path}", service))
    return path


@contextmanager
def _cheap_passwords() -> Iterator[None]:
    """Seeds people whose log-in costs little. A hash is verified at the cost that it was made with: at
    the default cost, a quarter of a second of CPU each time a test logs somebody in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seed, "ScryptPasswords", functools.partial(ScryptPasswords, Cost(log2_n=4)))
        yield


@dataclass
class PostgresMaker:
    """A database of its own for each call, in one server."""

    server: Postgres
    _templates: dict[tuple[str, ...], str] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _made: list[str] = field(default_factory=list)
    _used: list[str] = field(default_factory=list)

    def __call__(self, *services: str) -> Databases:
        name = f"test_{next(self._numbers)}"
        _done(self._copy(tuple(sorted(services)), name))
        return Databases({"MESHMART_DATABASE_URL": self.server.url(name)})

    def release(self) -> None:
        """What was made is used no more."""
        self._used.extend(self._made)
        self._made.clear()

    async def _copy(self, services: tuple[str, ...], name: str) -> None:
        async with self.server.connected() as c:
            while self._used:
                await c.execute(f"DROP DATABASE {self._used.pop()} WITH (FORCE)")
            if services not in self._templates:
                self._templates[services] = await self._template(c, services)
            # Copying files: for a small database half as long as by its log.
            await c.execute(f"CREATE DATABASE {name} TEMPLATE {self._templates[services]} STRATEGY file_copy")
        self._made.append(name)

    async def _template(self, c: asyncpg.Connection, services: tuple[str, ...]) -> str:
        template = "_".join(["template", *services])
        await c.execute(f"CREATE DATABASE {template}")
        with _cheap_passwords():
            for service in services:
                await migrate(self.server.url(template), service)
        return template


def _done(work: Coroutine[Any, Any, None]) -> None:
    """Runs it in a thread, as fixtures with and without a loop of their own come here."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def stored_text(db: Database) -> str:
    """Everything that a service has stored, for looking for what must not be there."""
    if db.is_sqlite:  # the files, with what was overwritten
        file = Path(str(db.url.database))
        return "".join(p.read_bytes().decode("latin-1") for p in file.parent.glob(f"{file.name}*"))
    tables = text("SELECT tablename FROM pg_tables WHERE schemaname = :schema")

    def everything(c: Connection) -> list[object]:
        names = c.scalars(tables, {"schema": db.service}).all()
        return [row for name in names for row in c.execute(text(f'TABLE "{name}"'))]

    return "\n".join(map(str, await db.read(everything)))


def meanwhile(db: Database) -> Callable[[Coroutine[Any, Any, T]], T]:
    """What a transaction calls, which awaits nothing otherwise, to let a coroutine run to its end."""
    if not db.is_sqlite:
        return await_only
    loop = asyncio.get_running_loop()
    return lambda work: asyncio.run_coroutine_threadsafe(work, loop).result()


def before_next_read(
    monkeypatch: pytest.MonkeyPatch, db: Database, happens: Callable[[], Coroutine[Any, Any, object]]
) -> None:
    """Has something happen right before the database's next `read`, such as another replica's commit."""
    read = db.read

    async def reading(work: Work[T]) -> T:
        monkeypatch.undo()
        await happens()
        return await read(work)

    monkeypatch.setattr(db, "read", reading)
