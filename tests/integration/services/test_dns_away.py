"""A pool grows while DNS is away: the last addresses of the database's host are kept."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from grpcmesh.errors import Unavailable
from services.kit import addresses
from services.kit.addresses import Addresses
from services.kit.db import Database
from tests.ports import free_port
from tests.postgres import throwaway

#: Known to nobody but the resolver of these tests.
HOST = "db.shop.test"


class Dns:
    """Stands in for `getaddrinfo`, which asks DNS."""

    def __init__(self) -> None:
        self.away, self.hangs, self.asked = False, False, 0

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.fixture
async def dns(monkeypatch: pytest.MonkeyPatch) -> Dns:
    made, loop = Dns(), asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, **options: Any) -> Any:
        return await (made.getaddrinfo if host == HOST else real)(host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(addresses.LOOP, "_addresses", Addresses(0.05))
    return made


@pytest.fixture(scope="module")
def port(postgres_programs: Path) -> Iterator[int]:
    """Of a PostgreSQL on loopback."""
    number = free_port()
    with throwaway(postgres_programs, ["listen_addresses='127.0.0.1'", f"port={number}"]):
        yield number


@pytest.fixture
async def db(port: int, dns: Dns) -> AsyncIterator[Database]:
    async with Database.open(f"postgresql://meshmart@{HOST}:{port}/postgres", "order", lock_timeout=60) as db:
        yield db


async def _sleep(db: Database) -> None:
    await db.read(lambda c: c.execute(text("SELECT pg_sleep(0.2)")))


@pytest.mark.parametrize("how", ["away", "hangs"])
async def test_a_pool_grows_while_dns_is_away(db: Database, dns: Dns, how: str) -> None:
    await _sleep(db)
    setattr(dns, how, True)
    asked = dns.asked
    async with asyncio.timeout(60):
        await asyncio.gather(*(_sleep(db) for _ in range(3)))  # three connections
    assert dns.asked > asked


async def test_without_an_address_from_before_the_database_is_unavailable(db: Database, dns: Dns) -> None:
    dns.away = True
    with pytest.raises(Unavailable):
        await _sleep(db)
    dns.away = False
    await _sleep(db)


async def test_where_dns_says_something_new_that_holds() -> None:
    made, answers = Addresses(), iter([["127.0.0.1"], ["127.0.0.2"]])

    async def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", (address, 1)) for address in next(answers)]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign]
    assert [await made.of(HOST, 1) for _ in "ab"] == [["127.0.0.1"], ["127.0.0.2"]]


async def test_a_pool_keeps_two_connections_open(db: Database) -> None:
    await db._engine.fill()  # type: ignore[attr-defined]
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'meshmart-order'"
    assert await db.read(lambda c: c.scalar(text(count))) == 2
