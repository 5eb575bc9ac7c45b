"""A role for each service on PostgreSQL: it can do the service's work, and nothing else."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from grpcmesh.config import ConfigError
from grpcmesh.errors import MeshError, Unavailable
from services.kit.db import Database
from services.kit.migrate import migrate
from services.kit.roles import DIRECTORY, Role, make, roles_from
from services.migrate import services_with_tables
from tests import pgbouncer
from tests.databases import PostgresMaker
from tests.pgbouncer import program
from tests.postgres import Postgres, throwaway

from .plankit import CALLS

SERVICES = services_with_tables()
#: Passwords count for every login but the owner's.
HBA = ["local all meshmart trust", "local all all scram-sha-256"]
REFUSED = asyncpg.InsufficientPrivilegeError


@pytest.fixture(scope="module")
def server(postgres_programs: Path) -> Iterator[Postgres]:
    with throwaway(postgres_programs, hba=HBA) as server:
        yield server


@pytest.fixture(scope="module")
def maker(server: Postgres) -> PostgresMaker:
    return PostgresMaker(server)


@pytest.fixture
async def owner(server: Postgres, maker: PostgresMaker) -> AsyncIterator[str]:
    """The URL of the migration role, to a database of its own."""
    yield maker().url("order")
    async with server.connected() as c:
        for name in await c.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'test%'"):
            await c.execute(f"DROP DATABASE {name[0]} WITH (FORCE)")
        for name in await c.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'shop%'"):
            await c.execute(f"DROP ROLE {name[0]}")


def _role(service: str) -> Role:
    return Role(f"shop_{service}", f"pw of {service}")


def _as(url: str, role: Role) -> str:
    return make_url(url).set(username=role.name, password=role.password).render_as_string(False)


async def _connected(url: str) -> asyncpg.Connection:
    parsed = make_url(url)
    host = str(parsed.query["host"])
    return await asyncpg.connect(
        host=host, user=parsed.username, password=parsed.password, database=parsed.database
    )


async def _migrated(owner: str) -> None:
    for service in SERVICES:
        await migrate(owner, service, role=_role(service))


@pytest.mark.parametrize("pooled", [False, True], ids=["straight", "through PgBouncer"])
async def test_each_service_does_all_its_work_with_its_role(
    server: Postgres, owner: str, pooled: bool
) -> None:
    await _migrated(owner)
    for service in CALLS:
        url = _as(owner, _role(service))
        if not pooled:
            await _works(url, service)
            continue
        binary = program()
        assert binary is not None
        with pgbouncer.throwaway(server, "transaction", 4, binary, [_role(service)]) as directory:
            through = make_url(url).update_query_dict({"host": str(directory), "pooling": "transaction"})
            port = through.update_query_dict({"port": "6432"})
            await _works(port.render_as_string(False), service)


async def _works(url: str, service: str) -> None:
    calls = CALLS[service]
    async with Database.open(url, service) as db:
        assert await db.read(lambda c: c.scalar(text("SELECT current_user"))) == f"shop_{service}"
        for call in calls(db):
            with suppress(MeshError, ValueError):  # what is not there, in tables that are nearly empty
                await call


@pytest.mark.parametrize("service", SERVICES)
async def test_a_role_sees_its_own_schema_only_and_defines_nothing(owner: str, service: str) -> None:
    await _migrated(owner)
    other = SERVICES[SERVICES.index(service) - 1]
    admin, c = await _connected(owner), await _connected(_as(owner, _role(service)))
    try:
        tables = "SELECT tablename FROM pg_tables WHERE schemaname = $1"
        own, others = [[r[0] for r in await admin.fetch(tables, s)] for s in (service, other)]
        for table in others:
            for statement in (f'SELECT 1 FROM "{other}".{table}', f'DELETE FROM "{other}".{table}'):
                with pytest.raises(REFUSED):
                    await c.execute(statement)
        for table in own:
            for statement in (
                f'TRUNCATE "{service}".{table}',
                f'DROP TABLE "{service}".{table}',
                f'ALTER TABLE "{service}".{table} ADD COLUMN more int',
                f'ALTER TABLE "{service}".{table} DISABLE TRIGGER ALL',
                f'CREATE INDEX more ON "{service}".{table} ((1))',
            ):
                with pytest.raises(REFUSED):
                    await c.execute(statement)
        for statement in (
            f'CREATE TABLE "{service}".more (n int)',
            "CREATE TABLE public.more (n int)",
            "CREATE SCHEMA more",
            "CREATE TEMPORARY TABLE more (n int)",
            "CREATE ROLE more",
            f'SET ROLE "{_role(other).name}"',
            "SET ROLE meshmart",
            f'DELETE FROM "{service}".alembic_version',
            f'DROP SCHEMA "{service}" CASCADE',
        ):
            with pytest.raises(REFUSED):
                await c.execute(statement)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await _connected(_as(owner, Role(_role(service).name, "guessed")))
    finally:
        await admin.close()
        await c.close()


async def test_roles_are_made_beside_a_shop_that_runs_with_one_and_take_over(owner: str) -> None:
    """The upgrade from one role: the owner stays the owner, so that nothing has to move."""
    for service in SERVICES:
        await migrate(owner, service)
    beat = text("SELECT count(*) FROM orders")
    async with Database.open(owner, "order") as old:
        running, seen = True, 0

        async def serve() -> None:
            nonlocal seen
            while running:
                await old.write(lambda c: c.execute(beat))
                seen += 1
                await asyncio.sleep(0)

        serving = asyncio.create_task(serve())
        await _migrated(owner)
        async with Database.open(_as(owner, _role("order")), "order") as new:
            before = seen
            await new.write(lambda c: c.execute(text("DELETE FROM outbox")))
            while seen < before + 10:  # noqa: ASYNC110 # it is counted by whoever serves
                await asyncio.sleep(0)
        running = False
        await serving


async def test_a_new_name_and_password_are_a_new_role_while_the_old_one_still_works(owner: str) -> None:
    old, new = Role("shop_order", "old"), Role("shop_order_2", "new")
    await migrate(owner, "order", role=old)
    async with Database.open(_as(owner, old), "order") as running:
        await migrate(owner, "order", role=new)
        for url in (_as(owner, old), _as(owner, new)):
            async with Database.open(url, "order") as db:
                await db.read(lambda c: c.execute(text("SELECT 1 FROM orders")))
        await running.read(lambda c: c.execute(text("SELECT 1 FROM orders")))
    changed = Role("shop_order_2", "changed")
    await migrate(owner, "order", role=changed)
    async with Database.open(_as(owner, changed), "order") as db:
        await db.read(lambda c: c.execute(text("SELECT 1 FROM orders")))


async def test_a_role_that_is_used_no_more_can_go(owner: str) -> None:
    old, new = Role("shop_order", "old"), Role("shop_order_2", "new")
    for role in (old, new):
        await migrate(owner, "order", role=role)
    admin = await _connected(owner)
    await admin.execute("DROP OWNED BY shop_order; DROP ROLE shop_order")
    await admin.close()
    async with Database.open(_as(owner, new), "order") as db:
        await db.read(lambda c: c.execute(text("SELECT 1 FROM orders")))


async def test_a_restored_backup_knows_what_roles_may(server: Postgres, owner: str) -> None:
    await migrate(owner, "order", role=_role("order"))
    dump = await asyncio.to_thread(
        _program, server, "pg_dump", "--format", "custom", make_url(owner).database or ""
    )
    async with server.connected() as c:
        await c.execute("CREATE DATABASE test_restored")
    await asyncio.to_thread(
        _program, server, "pg_restore", "--dbname", "test_restored", "--exit-on-error", given=dump
    )
    restored = server.url("test_restored")
    async with Database.open(_as(restored, _role("order")), "order") as db:
        await db.write(lambda c: c.execute(text("DELETE FROM outbox")))
    await migrate(restored, "order", role=_role("order"))
    c = await _connected(_as(restored, _role("order")))
    with pytest.raises(REFUSED):
        await c.execute("CREATE TEMPORARY TABLE more (n int)")
    await c.close()


def _program(server: Postgres, name: str, *arguments: str, given: bytes = b"") -> bytes:
    found = shutil.which(name, path=os.pathsep.join([str(server.programs), os.environ["PATH"]]))
    assert found, f"{name} is not installed"
    command = [found, "--host", str(server.directory), "--username", "meshmart"]
    done = subprocess.run([*command, *arguments], input=given, check=True, capture_output=True, timeout=120)
    return done.stdout


async def test_a_table_of_a_later_migration_is_the_role_s_at_once(owner: str) -> None:
    await migrate(owner, "order", role=_role("order"))
    async with Database.open(owner, "order") as db:
        await db.write(lambda c: c.execute(text("CREATE TABLE later (id serial, n int)")))
    async with Database.open(_as(owner, _role("order")), "order") as db:
        await db.write(lambda c: c.execute(text("INSERT INTO later (n) VALUES (1)")))


async def test_who_may_not_make_roles_is_told_so(owner: str) -> None:
    admin = await _connected(owner)
    await admin.execute("CREATE ROLE shop_plain LOGIN PASSWORD 'plain'")
    await admin.execute(f'GRANT CREATE ON DATABASE "{make_url(owner).database}" TO shop_plain')
    await admin.close()
    plain = _as(owner, Role("shop_plain", "plain"))
    with pytest.raises(ConfigError, match="CREATEROLE"):
        await migrate(plain, "chat", role=_role("chat"))
    with pytest.raises(ConfigError, match="must be another"):
        await migrate(plain, "chat", role=Role("shop_plain", "plain"))
    await _drop(owner)


async def _drop(owner: str) -> None:
    admin = await _connected(owner)
    await admin.execute("DROP OWNED BY shop_plain CASCADE")
    await admin.close()


async def test_two_services_get_their_roles_at_once(owner: str) -> None:
    """PostgreSQL lets only one transaction at a time change what a database's users may."""
    await migrate(owner, "chat")
    database = make_url(owner).database
    other, watching = await _connected(owner), await _connected(owner)
    async with Database.open(owner, "chat") as db, asyncio.timeout(120):
        # As the migrations of another service, in its own process.
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT pg_advisory_xact_lock(hashtext('meshmart roles'))")
        await other.execute(f'REVOKE TEMPORARY, CREATE ON DATABASE "{database}" FROM PUBLIC')
        making = asyncio.create_task(make(db, _role("chat")))
        while not await watching.fetchval(_WAITS):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await transaction.commit()
        await making
    await other.close()
    await watching.close()


_WAITS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND application_name = 'meshmart-chat' AND datname = current_database()
"""


async def test_the_password_is_in_no_statement_that_the_server_logs(server: Postgres, owner: str) -> None:
    admin = await _connected(owner)
    await admin.execute(f"ALTER DATABASE \"{make_url(owner).database}\" SET log_statement = 'all'")
    await admin.close()
    secret = Role("shop_chat", "never-in-a-log")
    await migrate(owner, "chat", role=secret)
    log = (server.directory / "log").read_text()
    assert 'ALTER ROLE "shop_chat"' in log
    assert secret.password not in log
    assert secret.password not in repr(secret)


def test_roles_come_from_a_file_for_each_service(tmp_path: Path) -> None:
    assert roles_from({}) == {}
    (tmp_path / "order").write_text("postgresql://shop_order:p%40ss@db:5432/shop?sslmode=require\n")
    assert roles_from({DIRECTORY: str(tmp_path)}) == {"order": Role("shop_order", "p@ss")}
    nobody, no_password, no_ascii = "postgresql://db/s", "postgresql://user@db/s", "postgresql://u:pä@db/s"
    for wrong in ("", nobody, no_password, no_ascii, "p4ss"):
        (tmp_path / "order").write_text(wrong)
        with pytest.raises(ConfigError) as refused:
            roles_from({DIRECTORY: str(tmp_path)})
        assert "p4ss" not in str(refused.value)


async def test_a_role_that_is_not_there_yet_is_waited_for(owner: str) -> None:
    """Services of a first install start before the migrations make their roles."""
    await migrate(owner, "order")
    async with Database.open(_as(owner, _role("order")), "order") as db:
        with pytest.raises(Unavailable):
            await db.read(lambda c: c.execute(text("SELECT 1 FROM orders")))
        async with Database.open(owner, "order") as own:
            await make(own, _role("order"))
        await db.read(lambda c: c.execute(text("SELECT 1 FROM orders")))


async def test_what_every_login_may_is_taken_away_as_the_docs_say(owner: str) -> None:
    await migrate(owner, "order", role=_role("order"))
    docs = (Path(__file__).parents[3] / "docs" / "databases.md").read_text()
    revoke = "REVOKE EXECUTE ON FUNCTION lo_create(oid)" + docs.partition("FUNCTION lo_create(oid)")[2]
    revoke = revoke.partition("```")[0]
    login = _as(owner, _role("order"))
    elsewhere = make_url(login).set(database="postgres").render_as_string(hide_password=False)
    admin, c = await _connected(owner), await _connected(login)
    other = await _connected(elsewhere)
    try:
        await c.execute("SELECT lo_create(0)")
        await other.execute("CREATE TEMPORARY TABLE more (n int)")
        await admin.execute(revoke)
        for statement in ("lo_create(0)", "lo_creat(1)", "lo_from_bytea(0, '')"):
            with pytest.raises(REFUSED):
                await c.execute(f"SELECT {statement}")
        with pytest.raises(REFUSED):
            await _connected(elsewhere)
    finally:
        await admin.execute("GRANT CONNECT ON DATABASE postgres, template1 TO PUBLIC")
        await admin.execute("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")
        for connection in (admin, c, other):
            await connection.close()
