"""Asks one nameserver one question: over UDP, over TCP if the answer is truncated, without EDNS if need be.

Nothing here has a timeout. The caller cancels.
"""

import asyncio
import secrets
import socket

from grpcmesh.bad_values import bad_values
from grpcmesh.resolver import wire
from grpcmesh.resolver.answers import Answer, AnswerError, is_lame, read
from grpcmesh.resolver.nameservers import Nameserver
from grpcmesh.resolver.wire import MalformedError, Message, Question

#: The most datagrams that are skipped because they do not answer our question. Each query has a random id and
#: a random port, so they are spoofed answers, or noise.
MAX_STRAYS = 64
_LARGEST = 65535
_NAMES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}
#: Response codes of servers that do not understand EDNS (RFC 6891, section 7).
_NO_EDNS = (1, 4, 16)


class QueryError(Exception):
    """Raised if a nameserver cannot be asked, or its answer is unusable. The message says why."""


async def query(server: Nameserver, question: Question, tcp: bool = False) -> Answer:
    """Ask a nameserver, and return its answer. NXDOMAIN is an answer, not an error.

    Args:
        server: The nameserver.
        question: The question.
        tcp: Whether to ask over TCP from the start.

    Raises:
        QueryError: The nameserver refused, failed, or cannot be reached.
    """
    try:
        message = await _ask(server, question, tcp, edns=True)
        if message.rcode in _NO_EDNS:
            message = await _ask(server, question, tcp, edns=False)
        return _use(message, question)
    except OSError as e:
        raise QueryError(e.strerror or type(e).__name__) from e
    except EOFError as e:
        raise QueryError("it closed the connection") from e
    except (MalformedError, AnswerError) as e:
        bad_values.count("dns_message")
        raise QueryError(str(e)) from e


def _use(message: Message, question: Question) -> Answer:
    if message.truncated:
        raise QueryError("its answer is truncated over TCP, too")
    if message.rcode not in (0, wire.NXDOMAIN):
        raise QueryError(_NAMES.get(message.rcode, f"rcode {message.rcode}"))
    if is_lame(message):
        raise QueryError("it does not resolve names for this client")
    return read(message, question)


async def _ask(server: Nameserver, question: Question, tcp: bool, *, edns: bool) -> Message:
    message_id = secrets.randbelow(65536)
    data = wire.encode_query(question, message_id, edns=edns)
    if not tcp:
        message = await _over_udp(server, data, message_id, question)
        if not message.truncated:
            return message
    return wire.parse(await _over_tcp(server, data), message_id, question)


async def _over_udp(server: Nameserver, data: bytes, message_id: int, question: Question) -> Message:
    """Ask over UDP from a new port. The socket is connected, so the kernel drops other senders' datagrams."""
    loop = asyncio.get_running_loop()
    family, address = _resolved(server, socket.SOCK_DGRAM)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(address)
        sock.send(data)
        for _ in range(MAX_STRAYS):
            answer = await loop.sock_recv(sock, _LARGEST)
            try:
                return wire.parse(answer, message_id, question)
            except MalformedError:
                bad_values.count("dns_message")
    raise QueryError(f"none of its {MAX_STRAYS} datagrams answers the query")


async def _over_tcp(server: Nameserver, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(length)
    finally:
        writer.transport.abort()


def _resolved(server: Nameserver, kind: socket.SocketKind) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """Return the address in the form for sockets. It is numeric, so there is no look-up."""
    [(family, _, _, _, address), *_] = socket.getaddrinfo(
        server.host, server.port, type=kind, flags=socket.AI_NUMERICHOST
    )
    return family, address
