"""The front door before a web replica: whom it speaks for, and clients that only take room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import uvicorn

from grpcmesh.http import HttpLimits, Proxies, bounded
from local.forward import Forwarder

PATIENCE = 30.0
#: So long that only what a test is about can end a connection.
NEVER = HttpLimits(*[3600.0] * 4, close_timeout=5.0)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def client_address(scope: Any, receive: Any, send: Any) -> None:
    """Answers with its client's address, and to /big with megabytes."""
    body = b"x" * 20_000_000 if scope["path"] == "/big" else scope["client"][0].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Door:
    """The forwarder, and those who knock."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.writers: list[asyncio.StreamWriter] = []

    async def ask(self, data: bytes, source: str = "127.0.0.1") -> asyncio.StreamReader:
        """Connects and sends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
        writer.write(data)
        self.writers.append(writer)
        return reader


@asynccontextmanager
async def front_door(limits: HttpLimits) -> AsyncIterator[Door]:
    """A forwarder to one replica."""
    config = bounded(client_address, NEVER, Proxies.of(["127.0.0.1"]))
    config.load()
    config.port = 0
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    replica = server.servers[0].sockets[0].getsockname()
    forwarder = Forwarder(lambda: [replica], limits)
    forwarder.bind(0)
    await forwarder.start()
    door = Door(forwarder.port)
    try:
        yield door
    finally:
        for writer in door.writers:
            writer.close()
        await forwarder.aclose()
        await server.shutdown()
        for writer in door.writers:
            with suppress(OSError):
                await writer.wait_closed()


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One answer whose body has a length."""
    async with asyncio.timeout(PATIENCE):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await reader.readexactly(length)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything until the other side closes."""
    async with asyncio.timeout(PATIENCE):
        return await reader.read()


async def test_a_replica_learns_whose_request_it_is() -> None:
    async with front_door(NEVER) as door:
        assert (await answer(await door.ask(GET, "127.0.0.5"))).endswith(b"127.0.0.5")
        lying = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
        assert (await answer(await door.ask(lying, "127.0.0.6"))).endswith(b"127.0.0.6")


@pytest.mark.parametrize("data", [b"", b"G", HALF])
async def test_a_request_that_does_not_come_is_timed_out(data: bytes) -> None:
    async with front_door(replace(NEVER, head_timeout=0.1)) as door:
        assert b" 408 " in await rest(await door.ask(data))


async def test_many_half_sent_requests_make_room_for_a_whole_one() -> None:
    async with front_door(replace(NEVER, max_connections=40, max_per_address=30)) as door:
        halves = [await door.ask(HALF, "127.0.0.5") for _ in range(60)]
        assert b" 200 " in await answer(await door.ask(GET, "127.0.0.5"))
        assert b" 200 " in await answer(await door.ask(GET, "127.0.0.1"))
        assert b" 408 " in await rest(halves[0])


async def test_an_address_gets_only_so_many_connections() -> None:
    async with front_door(replace(NEVER, max_connections=10, max_per_address=3)) as door:
        kept = [await door.ask(GET, "127.0.0.5") for _ in range(3)]
        for reader in kept:
            await answer(reader)
        assert b" 503 " in await rest(await door.ask(GET, "127.0.0.5"))
        assert b" 200 " in await answer(await door.ask(GET, "127.0.0.1"))


async def test_a_header_that_is_too_long_is_refused() -> None:
    async with front_door(NEVER) as door:
        assert b" 431 " in await rest(await door.ask(HALF + b"A: " + b"a" * 40_000 + b"\r\n\r\n"))


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with front_door(replace(NEVER, write_timeout=0.1)) as door:
        await door.ask(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        writer = door.writers[-1]
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:  # until the connection has gone, which writing tells
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)


async def test_two_framings_in_one_request_are_refused_and_the_connection_closed() -> None:
    both = (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        + GET
    )
    async with front_door(NEVER) as door:
        said = await rest(await door.ask(both))
        assert said.startswith(b"HTTP/1.1 400 ")
        assert said.count(b"HTTP/1.1 ") == 1
