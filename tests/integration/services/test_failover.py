"""The primary changes: a pool that has connected to a server that takes no writes leaves it."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from grpcmesh.errors import Unavailable
from services.kit import addresses, notifier
from services.kit.addresses import Addresses, ResolvingLoop
from services.kit.db import Database
from services.kit.notifier import Notifier
from tests.ports import free_port
from tests.postgres import throwaway

HOST = "db.shop.test"
PRIMARY, STANDBY = "127.0.0.1", "127.0.0.2"


@dataclass
class Dns:
    """Whom the name of the database means."""

    answer: list[str]


@pytest.fixture
async def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    made, loop = Dns([STANDBY]), asyncio.get_running_loop()

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        found = made.answer if host == HOST else [host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(addresses.LOOP, "_addresses", Addresses())
    return made


@pytest.fixture(scope="module")
def ports(postgres_programs: Path) -> Iterator[dict[str, int]]:
    """Of a server that takes writes, and of one that takes none, as a standby."""
    port, alone = free_port(), free_port()
    primary = [f"listen_addresses='{PRIMARY}'", f"port={port}"]
    standby = [f"listen_addresses='{STANDBY}'", f"port={port}", "default_transaction_read_only=on"]
    with throwaway(postgres_programs, primary), throwaway(postgres_programs, standby):
        yield {"both": port, "nobody": alone}


async def _write(db: Database) -> None:
    await db.write(lambda c: c.execute(text("CREATE TABLE IF NOT EXISTS t (id INTEGER)")))


async def test_a_pool_leaves_a_server_that_takes_no_writes(dns: Dns, ports: dict[str, int]) -> None:
    url = f"postgresql://meshmart@{HOST}:{ports['both']}/postgres"
    async with Database.open(url, "public", lock_timeout=60) as db:
        # As many connections as there may be, all of them to the standby.
        await asyncio.gather(*(db.read(lambda c: c.execute(text("SELECT pg_sleep(0.2)"))) for _ in range(3)))
        with pytest.raises(Unavailable):
            await _write(db)
        dns.answer = [PRIMARY]
        for _ in range(3):
            await _write(db)
        where = await asyncio.gather(
            *(db.read(lambda c: c.scalar(text("SELECT host(inet_server_addr())"))) for _ in range(6))
        )
    assert set(where) == {PRIMARY}


async def test_of_several_servers_the_one_that_takes_writes_is_found(ports: dict[str, int]) -> None:
    port = ports["both"]
    url = f"postgresql://meshmart@/postgres?host={STANDBY}:{port}&host={PRIMARY}:{port}"
    async with Database.open(f"{url}&target_session_attrs=read-write", "public", lock_timeout=60) as db:
        await _write(db)
    url = f"postgresql://meshmart@{STANDBY}:{port}/postgres?target_session_attrs=read-write"
    async with Database.open(url, "public", lock_timeout=60) as db:
        with pytest.raises(Unavailable):
            await _write(db)


async def test_an_address_that_answers_nothing_does_not_hide_the_next_one(
    dns: Dns, ports: dict[str, int]
) -> None:
    dns.answer = ["127.0.0.3", PRIMARY]
    loop, tried = asyncio.get_running_loop(), list[str]()
    connect = loop.create_connection

    async def create_connection(factory: object, host: str, port: int, **options: object) -> object:
        tried.append(host)
        if host != PRIMARY:
            await asyncio.Event().wait()
        return await connect(factory, host, port, **options)  # type: ignore[arg-type]

    loop.create_connection = create_connection  # type: ignore[assignment, method-assign]
    resolving = ResolvingLoop(Addresses(), turn=0.05)
    async with asyncio.timeout(60):
        transport, _ = await resolving.create_connection(asyncio.Protocol, HOST, ports["both"])
    transport.close()
    assert tried == ["127.0.0.3", PRIMARY]


async def test_a_pool_that_cannot_be_filled_says_so_in_one_line(
    ports: dict[str, int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kit.postgres.FILL_INTERVAL", 0.01)
    url = f"postgresql://meshmart@{PRIMARY}:{ports['nobody']}/postgres"
    with caplog.at_level(logging.WARNING, "services.kit.background"):
        async with Database.open(url, "public"), asyncio.timeout(60):
            while not caplog.records:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    assert "out of reach" in caplog.records[0].message
    assert caplog.records[0].exc_info is None


async def test_notifications_go_on_after_an_error_that_nobody_expects(
    ports: dict[str, int], dns: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "RECONNECT", 0.01)
    dns.answer = [PRIMARY]
    heard = asyncio.Event()
    url = f"postgresql://meshmart@{HOST}:{ports['both']}/postgres"
    async with Database.open(url, "public", lock_timeout=60) as db, db.listen("news", lambda _: heard.set()):
        assert db._notifier is not None
        _fail_once(db._notifier, monkeypatch)
        async with asyncio.timeout(60):
            while not heard.is_set():
                await db.write(lambda c: db.notify(c, "news"))
                await asyncio.sleep(0.05)


def _fail_once(listener: Notifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its next attempt to connect raises what no driver documents."""
    connect = listener._connect

    async def failing() -> object:
        monkeypatch.setattr(listener, "_connect", connect)
        raise RuntimeError("not foreseen")

    monkeypatch.setattr(listener, "_connect", failing)
