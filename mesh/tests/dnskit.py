"""A DNS server on loopback that does what a test tells it to, over UDP and TCP, well or badly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from grpcmesh.config import ResolverConfig

NAME = "ping.default.svc.cluster.local."
SERVICE = f"_grpc._tcp.{NAME}"

#: Takes the query, whether it came over TCP, and the correct answer. Returns the packets to send.
Script = Callable[[dns.message.Message, bool, dns.message.Message], Iterable[bytes]]


class DnsServer(asyncio.DatagramProtocol):
    """A DNS server that answers from `records`. All other names do not exist.

    Attributes:
        records: Values by name and kind. A CNAME is followed as a recursive server does.
        ttls: TTL by name and kind, else `ttl`.
        rcodes: Error codes to answer with instead, by name and kind.
        additional: Names whose addresses are added to each answer.
        lose: Number of datagrams to lose before the next is answered.
        silent, silent_tcp: Whether to answer nothing over UDP and over TCP.
        truncate: Whether to truncate answers over UDP.
        negative: The negative TTL (SOA minimum). If None, no SOA is sent.
        script: Returns the datagrams to send instead of the correct answer.
        asked: Each question, such as `ping. A`, followed by ` tcp` if it came over TCP.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttls: dict[tuple[str, str], int] = {}
        self.rcodes: dict[tuple[str, str], str] = {}
        self.additional: list[tuple[str, str, list[str]]] = []
        self.ttl = 1
        self.lose = 0
        self.silent = self.silent_tcp = self.truncate = False
        self.edns = True
        self.negative: int | None = None
        self.script: Script | None = None
        self.asked: list[str] = []
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", self.port))

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._tcp.wait_closed()

    def hosts(self, *addresses: str, name: str = NAME, kind: str = "A") -> None:
        """Set the addresses of a name."""
        self.records[name, kind] = list(addresses)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = self._note(data, tcp=False)
        if self.silent:
            return
        if self.lose:
            self.lose -= 1
            return
        for packet in self._packets(query, tcp=False):
            self._udp.sendto(packet, addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
            query = self._note(await reader.readexactly(length), tcp=True)
            if self.silent_tcp:
                await reader.read()
                return
            for packet in self._packets(query, tcp=True):
                writer.write(len(packet).to_bytes(2, "big") + packet)
            await writer.drain()
        except (OSError, EOFError):
            pass  # whoever asked has gone
        finally:
            self._writers.discard(writer)
            writer.close()

    def _note(self, data: bytes, *, tcp: bool) -> dns.message.Message:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.asked.append(f"{question.name} {question.rdtype.name}{' tcp' if tcp else ''}")
        return query

    def _packets(self, query: dns.message.Message, *, tcp: bool) -> Iterable[bytes]:
        answer = self.answer(query)
        if not self.edns and query.edns >= 0:
            refusal = dns.message.make_response(query)
            refusal.use_edns(False)
            refusal.set_rcode(dns.rcode.FORMERR)
            return [refusal.to_wire()]
        if self.script is not None:
            return self.script(query, tcp, answer)
        if self.truncate and not tcp:
            answer.flags |= dns.flags.TC
            answer.answer = []
        return [answer.to_wire(max_size=65535)]

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Return the correct answer to a query."""
        answer = dns.message.make_response(query, recursion_available=True)
        name, kind = query.question[0].name.to_text(), query.question[0].rdtype.name
        if rcode := self.rcodes.get((name, kind)):
            answer.set_rcode(dns.rcode.from_text(rcode))
            return answer
        while alias := self.records.get((name, "CNAME")):
            answer.answer.append(self._rrset(name, "CNAME", alias))
            name = alias[0]
        if values := self.records.get((name, kind)):
            answer.answer.append(self._rrset(name, kind, values))
        else:
            self._deny(answer, name)
        answer.additional = [self._rrset(n, k, v) for n, k, v in self.additional]
        return answer

    def _deny(self, answer: dns.message.Message, name: str) -> None:
        if not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        if self.negative is not None:
            soa = f"ns. hostmaster. 1 60 10 600 {self.negative}"
            answer.authority.append(dns.rrset.from_text("cluster.local.", 3600, "IN", "SOA", soa))

    def _rrset(self, name: str, kind: str, values: list[str]) -> dns.rrset.RRset:
        return dns.rrset.from_text(name, self.ttls.get((name, kind), self.ttl), "IN", kind, *values)


@contextlib.asynccontextmanager
async def dns_servers(count: int = 1) -> AsyncIterator[list[DnsServer]]:
    """Run `count` servers, which have no records yet."""
    made = [DnsServer() for _ in range(count)]
    for server in made:
        await server.start()
    try:
        yield made
    finally:
        for server in made:
            await server.stop()


def config(*servers: DnsServer, **changes: object) -> ResolverConfig:
    """Return a configuration with these nameservers, in this order, and short intervals."""
    settings: dict[str, object] = {
        "nameserver": ",".join(s.endpoint for s in servers),
        "min_interval": 0.05,
        "timeout": 5.0,
        "try_interval": 0.2,
        **changes,
    }
    return ResolverConfig(**settings)  # type: ignore[arg-type]
