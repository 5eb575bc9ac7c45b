"""Clients that are not the mesh's: they look at a replica's certificate, or act as intruders."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from cryptography import x509

from local.catalog import OPERATOR
from meshmart.cluster import Replica

_TIMEOUT = 5.0


@contextlib.asynccontextmanager
async def _tls(
    replica: Replica, context: ssl.SSLContext
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.wait_for(
        asyncio.open_connection(replica.host, replica.port, ssl=context, server_hostname=replica.server_name),
        _TIMEOUT,
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), _TIMEOUT)


def _client_context(certificates: Path) -> ssl.SSLContext:
    own = certificates / OPERATOR
    context = ssl.create_default_context(cafile=str(own / "ca.crt"))
    context.load_cert_chain(own / "tls.crt", own / "tls.key")
    return context


async def server_serial(replica: Replica, certificates: Path) -> int:
    """Return the serial number of the certificate that a replica presents to a new connection."""
    async with _tls(replica, _client_context(certificates)) as (_, writer):
        encoded = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(encoded).serial_number


#: HTTP/2: connection preface, empty SETTINGS, and the frame header of HEADERS on stream 1.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


async def call_with_old_tls(replica: Replica, path: str, certificates: Path) -> bool:
    """Make a call over TLS 1.2 with a valid certificate (grpc itself cannot be told to use an old version).

    Returns:
        Whether the call got a message back; False if the handshake or the call was refused.
    """
    context = _client_context(certificates)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        async with _tls(replica, context) as (reader, writer):
            writer.write(_PREFACE + _request(path, replica.server_name))
            await writer.drain()
            return await asyncio.wait_for(_answered(reader), _TIMEOUT)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


def _request(path: str, authority: str) -> bytes:
    headers = b"".join(
        _literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "https"),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
    )
    message = bytes(5)  # an empty message, uncompressed
    return _frame(1, 0x4, headers) + _frame(0, 0x1, message)


def _literal(name: str, value: str) -> bytes:
    """Return a header as HPACK's literal without indexing, no Huffman code (RFC 7541, 6.2.2)."""
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + (1).to_bytes(4, "big") + payload


async def _answered(reader: asyncio.StreamReader) -> bool:
    """Read frames to the end of stream 1. Return whether there was a DATA frame, hence a response message."""
    while True:
        head = await reader.readexactly(9)
        length, kind, flags, stream = (
            int.from_bytes(head[:3], "big"),
            head[3],
            head[4],
            int.from_bytes(head[5:], "big"),
        )
        await reader.readexactly(length)
        if stream == 1 and kind == 0 and length:
            return True
        if stream == 1 and (flags & 0x1 or kind == 3):
            return False


async def call_with(credentials: grpc.ChannelCredentials, replica: Replica, path: str) -> grpc.StatusCode:
    """Make one empty call with these credentials directly to a replica. Return its status code."""
    async with _channel(credentials, replica) as channel:
        try:
            await channel.unary_unary(path, bytes, bytes)(b"", timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as e:
            return e.code()
        return grpc.StatusCode.OK


def anonymous_channel(replica: Replica, certificates: Path) -> grpc.aio.Channel:
    """Return a channel that trusts the mesh's CA and presents no certificate."""
    roots = (certificates / OPERATOR / "ca.crt").read_bytes()
    return _channel(grpc.ssl_channel_credentials(roots), replica)


def _channel(credentials: grpc.ChannelCredentials, replica: Replica) -> grpc.aio.Channel:
    options = [("grpc.ssl_target_name_override", replica.server_name), ("grpc.enable_http_proxy", 0)]
    return grpc.aio.secure_channel(replica.address, credentials, options)
