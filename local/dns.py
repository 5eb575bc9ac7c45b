"""The cluster's DNS server: answers for the ready replicas, as a headless Kubernetes service does.

`answer` is pure: bytes in, bytes out. Names, below `meshmart.svc.cluster.local.`:

- `product`: an A record for each ready replica; NXDOMAIN when none is ready;
- `_grpc._tcp.product`: SRV records with their ports;
- `product-1.product`: one replica.
"""

import asyncio
import struct
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rrset

from local.catalog import CLUSTER_DOMAIN, NAMESPACE

TTL = 2
_UDP_SIZE = 1232  # DNS flag day 2020: passes unfragmented
#: The most responses that are remembered.
_ANSWERS = 512
_TCP_IDLE = 5.0
_TCP_CONNECTIONS = 32


@dataclass(frozen=True)
class Record:
    """A ready replica."""

    replica: str
    """The name of the replica, such as `product-1`."""
    host: str
    port: int


Outage = Literal["silent", "servfail"]
"""How an outage looks to a client: no answer at all, or SERVFAIL to each query."""

Lookup = Callable[[], Mapping[str, Sequence[Record]]]
"""Returns the ready replicas of each service now. A service that has none may be absent."""


class Zone:
    """Answers DNS queries.

    Args:
        lookup: Called for each query.
        namespace: The second label of service names.
        domain: The zone; queries outside of it are REFUSED.
    """

    def __init__(self, lookup: Lookup, namespace: str = NAMESPACE, domain: str = CLUSTER_DOMAIN) -> None:
        self._lookup = lookup
        self.outage: Outage | None = None
        """The outage to simulate, if any."""
        self._origin = dns.name.from_text(domain)
        self._base = dns.name.from_text(f"{namespace}.svc.{domain}")
        #: Responses by the query after its id, and all else that they depend on. Reading and writing messages
        #: takes most of the time of an answer: without this, a supervisor that gets little CPU falls behind
        #: its replicas' queries, and answers each only after its sender has given up.
        self._answers: dict[Hashable, bytes] = {}

    def answer(self, wire: bytes, *, tcp: bool = False) -> bytes | None:
        """Return the response to one packet; None if it gets none (a response, no DNS header, an outage)."""
        if len(wire) < 12 or wire[2] & 0x80 or self.outage == "silent":
            return None
        if len(wire) > _UDP_SIZE:  # not remembered: nobody who asks for a name of the cluster sends so much
            return self._answer(wire, tcp)
        ready = frozenset((service, tuple(records)) for service, records in self._lookup().items())
        key = (wire[2:], tcp, self.outage, ready)
        if key not in self._answers:
            if len(self._answers) >= _ANSWERS:
                self._answers.clear()
            self._answers[key] = self._answer(wire, tcp)
        return wire[:2] + self._answers[key][2:]

    def _answer(self, wire: bytes, tcp: bool) -> bytes:
        try:
            query = dns.message.from_wire(wire, ignore_trailing=True)
            response = self._respond(query)
        except (dns.exception.DNSException, ValueError, struct.error):
            return wire[:2] + bytes([0x80, dns.rcode.FORMERR]) + bytes(8)
        size = 65535 if tcp else min(max(query.payload, 512), _UDP_SIZE)
        return response.to_wire(max_size=size, prefer_truncation=True)

    def _respond(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query, our_payload=_UDP_SIZE)
        if self.outage == "servfail":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
        elif len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
        else:
            self._resolve(response, query.question[0])
        return response

    def _resolve(self, response: dns.message.Message, question: dns.rrset.RRset) -> None:
        if question.rdclass != dns.rdataclass.IN or not question.name.is_subdomain(self._origin):
            response.set_rcode(dns.rcode.REFUSED)
            return
        response.flags |= dns.flags.AA
        sets = self._sets(question.name)
        wanted = [s for s in sets if question.rdtype in (s.rdtype, dns.rdatatype.ANY)]
        if wanted:
            response.answer.extend(wanted)
            response.additional.extend(self._addresses(wanted))
            return
        if not sets:
            response.set_rcode(dns.rcode.NXDOMAIN)
        response.authority.append(self._soa())

    def _sets(self, name: dns.name.Name) -> list[dns.rrset.RRset]:
        """Return all records of a name; empty if there is no such name."""
        if name == self._origin:
            return [self._soa()]
        if not name.is_subdomain(self._base) or name == self._base:
            return []
        labels = [label.decode("ascii", "replace").lower() for label in name.relativize(self._base).labels]
        ready = self._lookup()
        match labels:
            case [service] if ready.get(service):
                return [_a(name, sorted({r.host for r in ready[service]}))]
            case ["_grpc", "_tcp", service] if ready.get(service):
                return [self._srv(name, service, ready[service])]
            case [replica, service]:
                hosts = [r.host for r in ready.get(service, ()) if r.replica == replica]
                return [_a(name, hosts)] if hosts else []
            case _:
                return []

    def _srv(self, name: dns.name.Name, service: str, records: Sequence[Record]) -> dns.rrset.RRset:
        texts = [f"0 1 {r.port} {r.replica}.{service}.{self._base}" for r in records]
        return dns.rrset.from_text(name, TTL, "IN", "SRV", *texts)

    def _addresses(self, answers: list[dns.rrset.RRset]) -> list[dns.rrset.RRset]:
        """Return the A records of SRV targets, so that one query is enough."""
        targets = [rdata.target for s in answers if s.rdtype == dns.rdatatype.SRV for rdata in s]
        return [found for target in targets for found in self._sets(target)]

    def _soa(self) -> dns.rrset.RRset:
        text = f"ns.dns.{self._origin} hostmaster.{self._origin} 1 60 10 600 {TTL}"
        return dns.rrset.from_text(self._origin, TTL, "IN", "SOA", text)


def _a(name: dns.name.Name, hosts: Sequence[str]) -> dns.rrset.RRset:
    return dns.rrset.from_text(name, TTL, "IN", "A", *hosts)


class DnsServer:
    """Serves a zone over UDP and TCP on one port of a loopback address.

    Args:
        zone: Answers the queries.
        host: The address to listen on.
    """

    def __init__(self, zone: Zone, host: str = "127.0.0.1") -> None:
        self.zone, self._host = zone, host
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._open = 0
        self.port = 0

    async def start(self, attempts: int = 10) -> None:
        """Listen on a port that is free for UDP and TCP.

        Raises:
            OSError: no such port was found in `attempts` attempts.
        """
        for attempt in range(attempts):
            self._tcp = await asyncio.start_server(self._serve_tcp, self._host, 0)
            self.port = self._tcp.sockets[0].getsockname()[1]
            try:
                await self._start_udp()
                return
            except OSError:  # the port was free for TCP only: try another
                self._tcp.close()
                if attempt == attempts - 1:
                    raise

    async def _start_udp(self) -> None:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self.zone), local_addr=(self._host, self.port)
        )

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            while self._open <= _TCP_CONNECTIONS:
                async with asyncio.timeout(_TCP_IDLE):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    reply = self.zone.answer(await reader.readexactly(length), tcp=True)
                    if reply is None:
                        break
                    writer.write(struct.pack("!H", len(reply)) + reply)
                    await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass  # the client went away, or had nothing more to ask
        finally:
            self._open -= 1
            writer.close()

    async def aclose(self) -> None:
        """Stop answering."""
        if self._udp:
            self._udp.close()
        if self._tcp:
            self._tcp.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._zone.answer(data)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
