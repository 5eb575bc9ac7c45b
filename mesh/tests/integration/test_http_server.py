"""The HTTP server before clients that are slow, many, or lie. Deadlines are shortened, and not measured."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvicorn

from grpcmesh.http import HttpLimits, HttpServer, Proxies, bounded

PATIENCE = 30.0
#: Limits so high that only the limit under test can end a connection.
NEVER = HttpLimits(*[3600.0] * 4, close_timeout=5.0)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: x\r\n"


class App:
    """Answers each request with its client's address and its body; what is asked of /big, with megabytes."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            self.waiting.set()
            await self.go.wait()
        answer = b"x" * 8_000_000 if scope["path"] == "/big" else scope["client"][0].encode() + b" "
        more = scope["path"] != "/big"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            answer, more = answer + message["body"], message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [_length(answer)]})
        await send({"type": "http.response.body", "body": answer})


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def rest(self) -> bytes:
        """Read everything until the server closes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def answer(self) -> bytes:
        """Read one answer whose body has a length."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return head + await self.reader.readexactly(length)


class Port:
    """A served port, and those who call it."""

    def __init__(self, app: App, port: int) -> None:
        self.app, self.port = app, port
        self.clients: list[Client] = []

    async def connect(self, data: bytes = b"", source: str = "127.0.0.1") -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        client = Client(reader, writer)
        self.clients.append(client)
        writer.write(data)
        return client


@asynccontextmanager
async def serving(limits: HttpLimits) -> AsyncIterator[Port]:
    app = App()
    server = HttpServer(app, "127.0.0.1:0", "test", limits)
    await server.start()
    port = Port(app, server.port)
    try:
        yield port
    finally:
        for client in port.clients:
            client.writer.close()
        app.go.set()
        await server.aclose()


@pytest.mark.parametrize("data", [b"", b"G", HALF, GET + HALF])
async def test_a_request_whose_header_does_not_come_is_timed_out(data: bytes) -> None:
    async with serving(replace(NEVER, head_timeout=0.1)) as port:
        client = await port.connect(data)
        assert b"HTTP/1.1 408 Request Timeout\r\n" in await client.rest()


async def test_bytes_that_come_one_by_one_gain_no_time() -> None:
    async with serving(replace(NEVER, head_timeout=0.3)) as port:
        client = await port.connect()

        async def trickle() -> None:
            client.writer.write(HALF)
            while True:
                client.writer.write(b"A: b\r\n")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert b" 408 " in await client.rest()
        trickling.cancel()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 9\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"]
)
async def test_a_body_that_does_not_come_is_timed_out_and_the_application_told(framing: bytes) -> None:
    async with serving(replace(NEVER, body_timeout=0.1)) as port:
        client = await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"ab")
        assert b"HTTP/1.1 408 Request Timeout\r\n" in await client.rest()
        await asyncio.wait_for(port.app.gone.wait(), PATIENCE)


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    async with serving(replace(NEVER, write_timeout=0.1)) as port:
        client = await port.connect(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):  # noqa: PT012
            while True:  # until the server has gone, which writing tells
                client.writer.write(b"x")
                await client.writer.drain()
                await asyncio.sleep(0.02)


async def test_a_client_that_reads_gets_all_of_it() -> None:
    async with serving(replace(NEVER, write_timeout=5.0)) as port:
        client = await port.connect(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer()).endswith(b"x" * 1000)


async def test_a_connection_is_kept_between_requests_and_then_closed() -> None:
    async with serving(replace(NEVER, keep_alive=3.0)) as port:
        client = await port.connect(GET)
        await client.answer()
        client.writer.write(GET)
        await client.answer()
        assert await client.rest() == b""


async def test_a_request_under_way_is_bounded_by_no_deadline_of_the_clients() -> None:
    limits = replace(NEVER, head_timeout=0.1, body_timeout=0.1, write_timeout=0.1)
    async with serving(limits) as port:
        client = await port.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(port.app.waiting.wait(), PATIENCE)
        other = await port.connect(HALF)
        assert b" 408 " in await other.rest()  # a deadline has passed meanwhile
        port.app.go.set()
        assert b" 200 " in await client.answer()


async def test_many_half_sent_requests_make_room_for_a_whole_one() -> None:
    async with serving(replace(NEVER, max_connections=50, max_per_address=20)) as port:
        halves = [await port.connect(HALF) for _ in range(60)]
        good = await port.connect(GET)
        assert b" 200 " in await good.answer()
        assert b" 408 " in await halves[0].rest()  # the oldest had to go


async def test_an_address_with_too_many_requests_under_way_is_refused_and_others_are_served() -> None:
    async with serving(replace(NEVER, max_per_address=3)) as port:
        busy = []
        for _ in range(3):
            busy.append(await port.connect(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"))
            await asyncio.wait_for(port.app.waiting.wait(), PATIENCE)
            port.app.waiting.clear()
        refused = await port.connect(GET)
        assert b" 503 " in await refused.rest()
        assert b" 200 " in await (await port.connect(GET, "127.0.0.2")).answer()
        port.app.go.set()
        for client in busy:
            assert b" 200 " in await client.answer()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", b"400"),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"X: a\r\n b\r\n\r\n", b"400"),
        (b"Content-Length: 99999999\r\n\r\n", b"413"),
        (b"X: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
        (b"Transfer-Encoding: gzip\r\n\r\n", b"501"),
    ],
)
async def test_a_request_that_is_refused_is_the_last_of_its_connection(fields: bytes, status: bytes) -> None:
    async with serving(NEVER) as port:
        client = await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + GET)
        rest = await client.rest()
        assert rest.startswith(b"HTTP/1.1 " + status)
        assert rest.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in rest


async def test_what_is_sent_after_a_refusal_does_not_lose_the_answer() -> None:
    async with serving(NEVER) as port:
        client = await port.connect(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
        client.writer.write(b"x" * 900_000)
        assert b" 413 " in await client.rest()


async def test_a_client_that_ignores_the_end_of_its_connection_is_cut_off() -> None:
    async with serving(replace(NEVER, close_timeout=0.1)) as port:
        client = await port.connect(b"\0\r\n\r\n")
        assert b" 400 " in await client.rest()  # our half is closed, the client's is not
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                client.writer.write(b"x")
                await client.writer.drain()
                await asyncio.sleep(0.02)


async def test_requests_in_a_row_on_one_connection_are_answered_in_turn() -> None:
    async with serving(NEVER) as port:
        post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
        client = await port.connect(post + b"aa" + post + b"bb" + GET)
        assert [(await client.answer())[-2:] for _ in range(3)] == [b"aa", b"bb", b"1 "]


@asynccontextmanager
async def behind_proxies(*networks: str) -> AsyncIterator[Port]:
    app = App()
    server = uvicorn.Server(bounded(app, NEVER, Proxies.of(networks)))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    listener = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    socket = listener.sockets[0].dup()
    listener.close()
    await server.startup(sockets=[socket])  # type: ignore[list-item]
    port = Port(app, socket.getsockname()[1])
    try:
        yield port
    finally:
        for client in port.clients:
            client.writer.close()
        await server.shutdown()


@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_trusted_proxy_says_for_whom_it_speaks(pieces: int) -> None:
    async with behind_proxies("127.0.0.1") as port:
        client = await port.connect()
        data = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 8080\r\n" + GET
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            client.writer.write(data[start : start + size])
            await client.writer.drain()
        assert (await client.answer()).endswith(b"192.0.2.7 ")
        for itself in (GET, b"PROXY UNKNOWN\r\n" + GET):
            assert (await (await port.connect(itself)).answer()).endswith(b"127.0.0.1 ")


async def test_a_stranger_cannot_say_so() -> None:
    async with behind_proxies("127.0.0.1") as port:
        stranger = await port.connect(b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 8080\r\n" + GET, "127.0.0.2")
        assert b" 400 " in await stranger.rest()


@pytest.mark.parametrize("line", [b"PROXY TCP4 me you 1 2\r\n", b"PROXY " + b"x" * 200])
async def test_a_proxy_line_that_is_none_is_refused(line: bytes) -> None:
    async with behind_proxies("127.0.0.1") as port:
        client = await port.connect(line + GET)
        assert b" 400 " in await client.rest()
