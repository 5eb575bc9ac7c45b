"""Fetches a small document over HTTPS, without trusting the server: bounded in bytes and in time.

Redirects are not followed, so no answer can lead to another host or to plain HTTP. Proxies are not used.
"""

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import h11

from grpcmesh.auth.lookup import look_up
from grpcmesh.auth.problems import KeyCause, KeysError, told
from grpcmesh.urls import https_parts, without_secrets

#: The most bytes of a document, and of the head of an answer.
MAX_BODY, MAX_HEAD = 256 * 1024, 16 * 1024
_CHUNK = 16 * 1024
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?(\d{1,9})\"?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """A document, and for how many seconds it is fresh: None if the server did not say."""

    body: bytes
    fresh_for: float | None


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an `https` URL."""

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Parse a URL. Raises ValueError if it is no `https` URL, or holds a user name."""
        try:
            parts = https_parts(url)
        except ValueError as e:
            raise ValueError(f"{told(without_secrets(url))} {e}") from None
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.hostname or "", parts.port or 443, f"{parts.path or '/'}{query}")

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"


async def get(url: str, *, ca_file: Path | None = None, timeout: float) -> Answer:
    """Fetch a document.

    Args:
        url: An `https` URL.
        ca_file: The CAs that may have issued the server's certificate, in PEM. None: those of the system.
        timeout: Seconds for everything: name, connection, handshake and answer.

    Raises:
        KeysError: There is no such document, or the server misbehaves.
        ValueError: The URL is not of `https`.
    """
    address, url = Address.parse(url), without_secrets(url)
    try:
        async with asyncio.timeout(timeout):
            context = await asyncio.to_thread(_context, url, ca_file)
            return await _exchange(url, address, context)
    except TimeoutError:
        raise KeysError(KeyCause.TIMEOUT, f"{url} did not answer within {timeout:g} s") from None
    except socket.gaierror:
        raise KeysError(
            KeyCause.NAME_UNKNOWN, f"{url}: the name {address.host} is not known to DNS"
        ) from None
    except ssl.SSLCertVerificationError as e:
        reason = f"{url}: the TLS certificate is not accepted: {e.verify_message}"
        raise KeysError(KeyCause.UNTRUSTED, reason) from None
    except ssl.SSLError as e:
        raise KeysError(KeyCause.UNTRUSTED, f"{url}: no TLS connection: {e.reason or e}") from None
    except OSError as e:
        raise KeysError(KeyCause.UNREACHABLE, f"{url} cannot be reached: {e.strerror or e}") from None
    except h11.ProtocolError:
        raise KeysError(KeyCause.NOT_HTTP, f"{url} does not answer as an HTTP/1.1 server") from None


def _context(url: str, ca_file: Path | None) -> ssl.SSLContext:
    """Return the TLS settings. Raises KeysError if the CAs cannot be read."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as e:  # SSLError is an OSError
        bad = isinstance(e, ssl.SSLError) or not getattr(e, "strerror", None)
        reason = "has no CA certificates in PEM" if bad else str(getattr(e, "strerror", ""))
        raise KeysError(KeyCause.UNREADABLE, f"{url}: MESH_AUTH_CA_FILE={ca_file}: {reason}") from None


async def _exchange(url: str, address: Address, context: ssl.SSLContext) -> Answer:
    context.set_alpn_protocols(["http/1.1"])
    reader, writer = await _connect(address, context)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        writer.write(_request(connection, address))
        await writer.drain()
        return await _answer(url, connection, reader)
    finally:
        writer.transport.abort()  # without waiting for the server's close_notify


async def _connect(
    address: Address, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of the host's addresses that answers. Raises the OSError of the last one."""
    failed: OSError = OSError("has no address")
    for ip in await look_up(address.host, address.port):
        try:
            return await asyncio.open_connection(
                ip, address.port, ssl=context, server_hostname=address.host, limit=_CHUNK
            )
        except ssl.SSLError:
            raise
        except OSError as e:
            failed = e
    raise failed


def _request(connection: h11.Connection, address: Address) -> bytes:
    headers = [
        ("Host", address.authority), ("Accept", "application/json"), ("Accept-Encoding", "identity"),
        ("User-Agent", "grpcmesh"), ("Connection", "close"),
    ]  # fmt: skip
    request = h11.Request(method="GET", target=address.path, headers=headers)
    return (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")


async def _answer(url: str, connection: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    fresh_for, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            _require_good(url, event)
            fresh_for = freshness(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise KeysError(KeyCause.TOO_LARGE, f"{url} answers with more than {MAX_BODY} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return Answer(bytes(body), fresh_for)
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("the connection ended before the answer")


def _require_good(url: str, response: h11.Response) -> None:
    headers = dict(response.headers)
    if 300 <= response.status_code < 400:
        where = told(without_secrets(headers.get(b"location", b"").decode("latin-1")))
        raise KeysError(KeyCause.REDIRECT, f"{url} redirects to {where}, which is not followed")
    if response.status_code != 200:
        raise KeysError(KeyCause.STATUS, f"{url} answers with the status {response.status_code}")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise KeysError(KeyCause.NOT_HTTP, f"{url} answers in an encoding that was not asked for")


def freshness(headers: "h11._headers.Headers | list[tuple[bytes, bytes]]") -> float | None:
    """Return for how many seconds an answer is fresh (RFC 9111, 4.2), or None if its headers do not say."""
    text = ",".join(v.decode("latin-1") for k, v in headers if k == b"cache-control").lower()
    if "no-store" in text or "no-cache" in text:
        return 0.0
    found = _MAX_AGE.findall(text)
    if not found:
        return None
    age = next((v for k, v in headers if k == b"age"), b"0")
    old = int(age) if age.isdigit() and len(age) < 10 else 0
    return float(max(0, min(map(int, found)) - old))
