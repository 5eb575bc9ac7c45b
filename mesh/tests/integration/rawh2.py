"""Raw HTTP/2 frames (RFC 9113), for a peer that may break every rule that gRPC's client keeps."""

import asyncio
import contextlib
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grpcmesh.ca import Leaf

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 2, 3, 4, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Header = tuple[bytes, bytes]
#: A gRPC message without content.
EMPTY_MESSAGE = b"\0\0\0\0\0"


@dataclass(frozen=True)
class Frame:
    """One received frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(headers: Sequence[Header]) -> bytes:
    """Return a header block of literals without indexing or Huffman coding (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes([len(text)]) + text
    rest, encoded = len(text) - 127, b"\x7f"
    while rest >= 128:
        encoded += bytes([rest % 128 + 128])
        rest //= 128
    return encoded + bytes([rest]) + text


def headers(path: bytes, *more: Header, without: Sequence[bytes] = ()) -> list[Header]:
    """Return the headers of a gRPC request. `more` replaces headers of the same name or is added."""
    made = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"ping",
        b"te": b"trailers",
        b"content-type": b"application/grpc",
    }
    made.update(more)
    return [(name, value) for name, value in made.items() if name not in without]


class RawConnection:
    """A connection to an HTTP/2 server, after the preface and an empty SETTINGS frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.streams = iter(range(1, 1 << 30, 2))
        writer.write(PREFACE + frame(SETTINGS))

    async def send(self, *frames: bytes) -> None:
        """Write frames. If the server has closed the connection, they are dropped without an error."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(b"".join(frames))
            await self.writer.drain()

    async def request(self, wanted: Sequence[Header], *, message: bytes | None = EMPTY_MESSAGE) -> int:
        """Begin a stream with these headers and return its number. If `message` is None, send none."""
        stream, block = next(self.streams), literal(wanted)
        frames = [frame(HEADERS, 0 if len(block) > 16000 else END_HEADERS, stream, block[:16000])]
        for start in range(16000, len(block), 16000):
            last = END_HEADERS if start + 16000 >= len(block) else 0
            frames.append(frame(CONTINUATION, last, stream, block[start : start + 16000]))
        if message is not None:
            frames.append(frame(DATA, END_STREAM, stream, message))
        await self.send(*frames)
        return stream

    async def receive(self) -> Frame | None:
        """Return the next frame, or None if the server has closed the connection."""
        try:
            head = await self.reader.readexactly(9)
            length = int.from_bytes(head[:3], "big")
            stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
            return Frame(head[3], head[4], stream, await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return None

    async def answer(self, stream: int) -> bytes:
        """Return all payloads of a stream until the server ends it, resets it, or closes the connection."""
        said = b""
        while (got := await self.receive()) is not None:
            if got.kind == SETTINGS and not got.flags & ACK:
                await self.send(frame(SETTINGS, ACK))
            elif got.kind == PING and not got.flags & ACK:
                await self.send(frame(PING, ACK, 0, got.payload))
            elif got.stream == stream:
                said += got.payload
                if got.kind == RST_STREAM or got.flags & END_STREAM:
                    return said
        return said


@contextlib.asynccontextmanager
async def connect(address: str, context: ssl.SSLContext | None = None) -> AsyncIterator[RawConnection]:
    """Open a connection until the end of the block."""
    host, _, port = address.rpartition(":")
    name = "ping" if context else None
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()  # grpc does not answer a TLS close_notify, so a clean close would wait


def tls(leaf: Leaf) -> ssl.SSLContext:
    """Return a TLS context with a workload's certificate and ALPN `h2`."""
    context = ssl.create_default_context(cadata=leaf.ca_crt.decode())
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.set_alpn_protocols(["h2"])
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / name for name in ("crt", "key")]
        for file, content in zip(files, (leaf.tls_crt, leaf.tls_key), strict=True):
            file.write_bytes(content)
        context.load_cert_chain(*files)
    return context
