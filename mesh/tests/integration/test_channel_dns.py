"""The DNS resolver against a real DNS server (over UDP and TCP), and a channel on it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from grpcmesh.config import ResolverConfig
from grpcmesh.resolver import Address
from grpcmesh.resolver.asking import LookupFailedError
from grpcmesh.resolver.lookup import DnsLookup
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.replicas import CONFIG, Cluster, eventually

NAME = "ping.meshmart.svc.cluster.local."


class DnsServer(asyncio.DatagramProtocol):
    """Answers from `records`; a name that is not there does not exist. Truncates over UDP if told to."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.additional: list[tuple[str, str, list[str]]] = []
        self.ttl = 1
        self.silent = self.truncate = False
        self.asked: list[str] = []
        self.port = 0

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", self.port))

    async def stop(self) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self.silent:
            answer = self._answer(data)
            if self.truncate:
                answer.flags |= dns.flags.TC
                answer.answer = []
            self._udp.sendto(answer.to_wire(), addr)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        wire = self._answer(await reader.readexactly(length)).to_wire()
        writer.write(len(wire).to_bytes(2, "big") + wire)
        await writer.drain()
        writer.close()

    def _answer(self, data: bytes) -> dns.message.Message:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        name, kind = query.question[0].name.to_text(), query.question[0].rdtype.name
        self.asked.append(f"{name} {kind}")
        if not any(known == name for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif values := self.records.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(name, self.ttl, "IN", kind, *values))
        answer.additional = [dns.rrset.from_text(n, self.ttl, "IN", k, *v) for n, k, v in self.additional]
        return answer


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    made = DnsServer()
    await made.start()
    yield made
    await made.stop()


def config(server: DnsServer, kind: str = "dns") -> ResolverConfig:
    return ResolverConfig(
        kind=kind,  # type: ignore[arg-type]
        nameserver=f"127.0.0.1:{server.port}",
        port=50051,
        min_interval=0.05,
        timeout=0.5,
    )


async def test_a_and_aaaa_are_asked_of_the_full_name(server: DnsServer) -> None:
    server.records = {(NAME, "A"): ["127.0.1.1", "127.0.1.2"], (NAME, "AAAA"): ["::1"]}
    found = await DnsLookup(config(server), NAME)()
    assert {str(a) for a in found.addresses} == {"127.0.1.1:50051", "127.0.1.2:50051", "[::1]:50051"}
    assert found.ttl == 1
    assert sorted(server.asked) == [f"{NAME} A", f"{NAME} AAAA"]


async def test_a_name_that_does_not_exist_is_an_answer(server: DnsServer) -> None:
    found = await DnsLookup(config(server), NAME)()
    assert (found.addresses, found.result) == (frozenset(), "nxdomain")


async def test_a_name_without_addresses_is_an_answer(server: DnsServer) -> None:
    server.records = {(NAME, "TXT"): ['"nothing"']}
    found = await DnsLookup(config(server), NAME)()
    assert (found.addresses, found.result) == (frozenset(), "empty")


async def test_a_truncated_answer_is_asked_for_over_tcp(server: DnsServer) -> None:
    server.records = {(NAME, "A"): [f"127.0.2.{i}" for i in range(1, 100)]}
    server.truncate = True
    assert len((await DnsLookup(config(server), NAME)()).addresses) == 99


async def test_silence_is_a_failure_within_the_timeout(server: DnsServer) -> None:
    server.silent = True
    started = asyncio.get_running_loop().time()
    with pytest.raises(LookupFailedError) as e:
        await DnsLookup(config(server), NAME)()
    assert e.value.result == "timeout"
    assert asyncio.get_running_loop().time() - started < 2


async def test_srv_gives_ports_and_the_additional_section_addresses(server: DnsServer) -> None:
    service = f"_grpc._tcp.{NAME}"
    server.records = {(service, "SRV"): [f"0 0 4001 one.{NAME}", f"0 0 4002 two.{NAME}"]}
    server.additional = [(f"one.{NAME}", "A", ["127.0.0.1"]), (f"two.{NAME}", "A", ["127.0.0.2"])]
    found = await DnsLookup(config(server, "srv"), NAME)()
    assert found.addresses == {Address("127.0.0.1", 4001), Address("127.0.0.2", 4002)}
    assert server.asked == [f"{service} SRV"]


async def test_srv_targets_without_addresses_are_asked_for(server: DnsServer) -> None:
    server.records = {
        (f"_grpc._tcp.{NAME}", "SRV"): [f"0 0 4001 one.{NAME}"],
        (f"one.{NAME}", "A"): ["127.0.0.1"],
    }
    found = await DnsLookup(config(server, "srv"), NAME)()
    assert found.addresses == {Address("127.0.0.1", 4001)}


async def test_a_channel_follows_dns(server: DnsServer, tmp_path: Path) -> None:
    ping = Cluster(tmp_path, replace(CONFIG, resolver=config(server, "srv")))
    channel = ping.open(resolver=None)
    stub = PingServiceStub(channel)
    call = stub.Ping(PingRequest())
    await eventually(lambda: server.asked)
    one, two = await ping.add(), await ping.add()

    def publish(*ports: int) -> None:
        server.additional = [(f"host.{NAME}", "A", ["127.0.0.1"])]
        server.records = {(f"_grpc._tcp.{NAME}", "SRV"): [f"0 0 {port} host.{NAME}" for port in ports]}

    publish(one.port)
    assert (await call).replica == "ping-1"
    publish(one.port, two.port)
    await eventually(lambda: len(channel.state()["endpoints"]) == 2)
    server.silent = True
    await one.stop()
    await eventually(lambda: "failed" in {e["state"] for e in channel.state()["endpoints"]})
    assert {(await stub.Ping(PingRequest())).replica for _ in range(4)} == {"ping-2"}
    await eventually(lambda: channel.state()["resolver_error"])
    server.silent = False
    publish(two.port)
    await eventually(lambda: len(channel.state()["endpoints"]) == 1)
    names = {s.name for f in channel.collect() for s in f.samples}
    assert {"mesh_dns_lookups_total", "mesh_resolver_endpoints"} <= names
    await channel.close()
    await two.stop()
