"""One question to one nameserver: UDP, TCP where the answer was truncated, and back from EDNS where need be.

Nothing here has a timeout: who asks cancels.
"""

import asyncio
import secrets
import socket

from grpcmesh.bad_values import bad_values
from grpcmesh.resolver import wire
from grpcmesh.resolver.answers import Answer, AnswerError, is_lame, read
from grpcmesh.resolver.nameservers import Nameserver
from grpcmesh.resolver.wire import MalformedError, Message, Question

#: Datagrams that are no answer to our question and are passed over. Each query has a random id and a random
#: port, so they are guesses of somebody who wants to be believed, or noise.
MAX_STRAYS = 64
_LARGEST = 65535
_NAMES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}
#: What servers say that do not understand EDNS (RFC 6891, section 7).
_NO_EDNS = (1, 4, 16)


class QueryError(Exception):
    """A nameserver could not be asked, or its answer is of no use. The message says why."""


async def query(server: Nameserver, question: Question, tcp: bool = False) -> Answer:
    """Ask a nameserver. NXDOMAIN is an answer like any other.

    Args:
        server: Whom.
        question: What.
        tcp: Whether to ask over TCP from the start.

    Raises:
        QueryError: it refused, failed, or cannot be reached.
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
        raise QueryError("it does not answer for others")
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
    """From a port of its own. The socket is connected, so the kernel drops what another address sends."""
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
    raise QueryError("it sends nothing but what was not asked for")


async def _over_tcp(server: Nameserver, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(len(data).to_bytes(2, "big") + data)
        length = int.from_bytes(await reader.readexactly(2), "big")
        return await reader.readexactly(length)
    finally:
        writer.transport.abort()


def _resolved(server: Nameserver, kind: socket.SocketKind) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """The address as sockets want it; it is a number, so nothing is looked up."""
    [(family, _, _, _, address), *_] = socket.getaddrinfo(
        server.host, server.port, type=kind, flags=socket.AI_NUMERICHOST
    )
    return family, address
