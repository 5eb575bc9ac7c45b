"""Requests that no grpc client sends, on both ports: each costs its own call at most.

Every request is sent as raw HTTP/2 frames by an authenticated workload (mesh port) or by anybody (health
port). Afterwards the server must serve a well-behaved client on a new connection.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh.config import HealthConfig
from grpcmesh.server.ports import HealthPort
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, PingServiceStub
from tests.integration import rawh2
from tests.integration.rawh2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RawConnection
from tests.integration.serverkit import Served, serve, until

PING = b"/mesh.testing.PingService/Ping"
CHECK = b"/grpc.health.v1.Health/Check"

#: Paths; the last byte sequences are not UTF-8: a lone byte, an overlong slash, a surrogate, a cut sequence.
PATHS = [
    b"/a.B/\xff", b"\xff", b"/\xff/\xff", b"/a.B/\xc0\xaf", b"/a.B/\xed\xa0\x80", b"/a.B/\xe2\x82",
    b"/mesh.testing.PingService/Ping\xff", b"/grpc.health.v1.Health/\xfe", b"", b"/", b"//", b"///", b"x",
    b"no.Slash", b"//mesh.testing.PingService/Ping", b"/mesh.testing.PingService//Ping",
    b"/mesh.testing.PingService/Ping/", b"/unknown/unknown", b"/unknown/x", b"*", b"/" + b"a" * 9000,
    b"/a.B/%00", b"/a\tb/c", "/a.B/\u00fc\ufffd".encode(),
]  # fmt: skip

#: Invalid headers other than the path.
HEADERS_WRONG = [
    (b":authority", b"\xff\xfe"), (b":authority", b""), (b":method", b"GET"), (b":method", b"PUT"),
    (b":method", b"\xff"), (b":method", b"CONNECT"), (b":scheme", b"\xff"), (b":status", b"200"),
    (b":unknown", b"x"), (b"te", b"\xff"), (b"content-type", b"text/html"), (b"content-type", b"\xff"),
    (b"content-type", b""), (b"grpc-timeout", b"\xff"), (b"grpc-timeout", b"-1S"), (b"grpc-timeout", b"1"),
    (b"grpc-timeout", b"99999999999999999999H"), (b"grpc-timeout", b""), (b"grpc-encoding", b"\xff"),
    (b"grpc-encoding", b"nonsense"), (b"grpc-accept-encoding", b"\xff"), (b"x-bin", b"!!!"),
    (b"x-bin", b"\xff"), (b"x-bin", b"A"), (b"x-bin", b"===="), (b"x", b"\xff\xfe"), (b"x", b"\0"),
    (b"x", b"a\r\nb"), (b"\xff", b"x"), (b"X-Upper", b"x"), (b"", b"x"), (b"a b", b"x"),
    (b"authorization", b"Bearer \xff"), (b"traceparent", b"\xff"), (b"baggage", b"\xff"),
    (b"user-agent", b"\xff"), (b"content-length", b"-5"), (b"transfer-encoding", b"chunked"),
    (b"grpc-previous-rpc-attempts", b"\xff"), (b"host", b"\xff"), (b"big", b"x" * 60_000),
]  # fmt: skip


class Port:
    """One port of a server under test: raw connections to it, and a good call."""

    def __init__(self, served: Served, health: HealthPort, name: str) -> None:
        self._served, self._health, self._name = served, health, name
        self._tls = rawh2.tls(served.ca.issue("client"))
        self.method = PING if name == "mesh" else CHECK

    def connect(self) -> contextlib.AbstractAsyncContextManager[RawConnection]:
        if self._name == "mesh":
            return rawh2.connect(self._served.endpoint, self._tls)
        return rawh2.connect(f"127.0.0.1:{self._health.port}")

    async def good_call(self) -> None:
        """Assert that a client on a connection of its own is served."""
        if self._name == "mesh":
            async with self._served.channel() as channel:
                await PingServiceStub(channel).Ping(PingRequest(), timeout=20)
            return
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._health.port}") as plain:
            stub: Any = health_pb2_grpc.HealthStub(plain)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)


@pytest.fixture(params=["mesh", "health"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Port]:
    async with serve(tmp_path) as served:
        health = HealthPort(HealthConfig(address="127.0.0.1:0"), served.health)
        await health.start()
        try:
            yield Port(served, health, request.param)
        finally:
            await health.stop()


async def attempt(port: Port, wanted: list[rawh2.Header]) -> bytes:
    """Send one request and return what the server sent within 20 s."""
    async with asyncio.timeout(20), port.connect() as connection:
        return await connection.answer(await connection.request(wanted))


async def test_no_path_stops_a_server(port: Port) -> None:
    for path in PATHS:
        await attempt(port, rawh2.headers(path))
    await port.good_call()


async def test_a_path_that_is_not_utf_8_is_an_unknown_method(port: Port) -> None:
    said = await attempt(port, rawh2.headers(b"/a.B/\xff"))
    assert b"grpc-status\x0212" in said  # UNIMPLEMENTED
    await port.good_call()


async def test_a_path_that_is_not_utf_8_is_counted_and_logs_no_stack_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [b"/a.B/\xff", b"\xff", b"/\xe2\x82/x"]
    async with serve(tmp_path) as served, asyncio.timeout(20):
        async with rawh2.connect(served.endpoint, rawh2.tls(served.ca.issue("client"))) as connection:
            for path in paths:
                await connection.answer(await connection.request(rawh2.headers(path)))
        unknown = {"grpc_service": "unknown", "grpc_code": "Unimplemented"}
        assert served.metric("grpc_server_handled_total", **unknown) == len(paths)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_caller_that_leaves_while_such_a_path_is_refused_logs_no_stack_trace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = {"grpc_service": "unknown", "grpc_code": "Unimplemented"}
    async with (
        serve(tmp_path) as served,
        rawh2.connect(served.endpoint, rawh2.tls(served.ca.issue("client"))) as connection,
    ):
        await connection.request(rawh2.headers(b"/a.B/\xff"), message=None)  # not half-closed
        await until(lambda: served.metric("grpc_server_handled_total", **unknown))
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_path_that_is_not_utf_8_leaves_other_calls_of_its_connection_alone(port: Port) -> None:
    async with asyncio.timeout(20), port.connect() as connection:
        for _ in range(5):
            await connection.request(rawh2.headers(b"/a.B/\xff"))
        said = await connection.answer(await connection.request(rawh2.headers(port.method)))
    assert b"\0\0\0\0" in said  # a message
    await port.good_call()


async def test_no_header_stops_a_server(port: Port) -> None:
    for wrong in HEADERS_WRONG:
        await attempt(port, rawh2.headers(port.method, wrong))
    for missing in (b":method", b":scheme", b":path", b":authority", b"te", b"content-type"):
        await attempt(port, rawh2.headers(port.method, without=[missing]))
    await port.good_call()


async def test_no_message_and_no_trailer_of_a_client_stops_a_server(port: Port) -> None:
    async with asyncio.timeout(20):
        for message in (
            b"",
            b"\xff",
            b"\xff" * 5,
            b"\0\xff\xff\xff\xff",
            b"\1\0\0\0\1x",
            b"\0\0\0\0\2x",
            None,
        ):
            async with port.connect() as connection:
                stream = await connection.request(rawh2.headers(port.method), message=message)
                if message is None:  # trailers from a client, with a path that is not UTF-8
                    block = rawh2.literal([(b":path", b"/\xff"), (b"grpc-status", b"\xff")])
                    await connection.send(rawh2.frame(HEADERS, END_HEADERS | END_STREAM, stream, block))
                    await connection.answer(stream)
                else:
                    await connection.send(rawh2.frame(DATA, END_STREAM, stream, b"late"))
    await port.good_call()


async def _send_many(connection: RawConnection, frames: bytes, times: int) -> None:
    for _ in range(times):
        if connection.writer.is_closing():
            return
        await connection.send(frames)
        await asyncio.sleep(0)


async def test_a_header_block_without_end_is_bounded(port: Port) -> None:
    async with asyncio.timeout(30), port.connect() as connection:
        stream = next(connection.streams)
        await connection.send(rawh2.frame(HEADERS, 0, stream, rawh2.literal(rawh2.headers(port.method))))
        more = rawh2.frame(CONTINUATION, 0, stream, rawh2.literal([(b"x", b"y" * 16000)]))
        sending = asyncio.create_task(_send_many(connection, more, 4000))
        # Either the server closes the connection, or it reads no more of it.
        await asyncio.wait({sending}, timeout=5)
        sending.cancel()
        await asyncio.wait({sending})
    await port.good_call()


async def test_elsewhere_bytes_that_are_not_utf_8_are_an_error_as_ever(tmp_path: Path) -> None:
    decoded: list[bool] = []

    class Decoding(PingServiceServicer):
        async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
            with pytest.raises(UnicodeDecodeError):
                b"\xff".decode()
            with pytest.raises(UnicodeEncodeError):
                "\ud800".encode()
            decoded.append(True)
            return PingResponse()

    async with serve(tmp_path, Decoding()) as served, served.channel() as channel:
        await PingServiceStub(channel).Ping(PingRequest())
        with pytest.raises(UnicodeDecodeError):
            b"\xff".decode()
    assert decoded
    assert await asyncio.to_thread(lambda: b"\xff".decode(errors="replace")) == "\ufffd"
