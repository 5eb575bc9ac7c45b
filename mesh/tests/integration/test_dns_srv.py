"""SRV look-ups against a real DNS server on loopback."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from grpcmesh.bad_values import bad_values
from grpcmesh.config import ResolverConfig
from grpcmesh.resolver import Address
from grpcmesh.resolver.lookup import DnsLookup, Found
from tests.dnskit import NAME, SERVICE, DnsServer, config, dns_servers


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_servers() as [made]:
        yield made


async def look_up(settings: ResolverConfig, name: str = NAME) -> Found:
    async with asyncio.timeout(60):
        return await DnsLookup(settings, name)()


async def test_srv_gives_ports_and_the_additional_section_addresses(server: DnsServer) -> None:
    server.records = {(SERVICE, "SRV"): [f"0 0 4001 one.{NAME}", f"0 0 4002 two.{NAME}"]}
    server.additional = [(f"one.{NAME}", "A", ["127.0.0.1"]), (f"two.{NAME}", "A", ["127.0.0.2"])]
    found = await look_up(config(server, kind="srv"))
    assert found.addresses == {Address("127.0.0.1", 4001), Address("127.0.0.2", 4002)}
    assert server.asked == [f"{SERVICE} SRV"]


async def test_srv_targets_without_addresses_are_asked_for(server: DnsServer) -> None:
    server.records = {(SERVICE, "SRV"): [f"0 0 4001 one.{NAME}"], (f"one.{NAME}", "A"): ["127.0.0.1"]}
    server.ttls = {(f"one.{NAME}", "A"): 2}
    server.ttl = 30
    found = await look_up(config(server, kind="srv"))
    assert (found.addresses, found.ttl) == ({Address("127.0.0.1", 4001)}, 2)


@pytest.mark.parametrize("how", ["NXDOMAIN", "SERVFAIL", "silence"])
async def test_an_srv_target_that_fails_takes_away_its_own_alone(server: DnsServer, how: str) -> None:
    good = [f"host-{i}.{NAME}" for i in range(12)]
    server.records = {(SERVICE, "SRV"): [f"0 0 4001 {target}" for target in (*good, f"gone.{NAME}")]}
    server.records |= {(target, "A"): [f"127.0.0.{i + 1}"] for i, target in enumerate(good)}
    if how == "SERVFAIL":
        server.rcodes = {(f"gone.{NAME}", "A"): how, (f"gone.{NAME}", "AAAA"): how}
    if how == "silence":
        server.script = lambda query, tcp, answer: (
            [] if "gone" in str(query.question[0].name) else [answer.to_wire()]
        )
    found = await look_up(config(server, kind="srv", timeout=8.0))
    assert {a.host for a in found.addresses} == {f"127.0.0.{i + 1}" for i in range(12)}
    assert ("gone" in found.problem) == (how != "NXDOMAIN")


async def test_an_srv_target_that_fails_later_keeps_its_addresses(server: DnsServer) -> None:
    one, two = f"one.{NAME}", f"two.{NAME}"
    server.records = {(SERVICE, "SRV"): [f"0 0 4001 {one}", f"0 0 4002 {two}"]}
    server.records |= {(one, "A"): ["127.0.0.1"], (two, "A"): ["127.0.0.2"]}
    lookup = DnsLookup(config(server, kind="srv"), NAME)
    expected = {Address("127.0.0.1", 4001), Address("127.0.0.2", 4002)}
    assert (await lookup()).addresses == expected
    server.rcodes = {(two, "A"): "SERVFAIL"}
    assert (await lookup()).addresses == expected


async def test_many_silent_srv_targets_do_not_keep_the_others_from_being_asked(server: DnsServer) -> None:
    """More than are asked at the same time, and first in order: a zone whose nameservers are down."""
    silent = [f"a-{i}.{NAME}" for i in range(20)]
    good = [f"z-{i}.{NAME}" for i in range(3)]
    server.records = {(SERVICE, "SRV"): [f"0 0 4001 {target}" for target in (*silent, *good)]}
    server.records |= {(target, "A"): [f"127.0.0.{i + 1}"] for i, target in enumerate(good)}
    server.script = lambda query, tcp, answer: (
        [] if str(query.question[0].name).startswith("a-") else [answer.to_wire(max_size=65535)]
    )
    found = await look_up(config(server, kind="srv", timeout=8.0))
    assert {a.host for a in found.addresses} == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}
    assert "a-0" in found.problem


async def test_the_ttl_of_additional_records_of_other_names_does_not_count(server: DnsServer) -> None:
    """Such as those of the zone's nameservers, which some servers add."""
    server.records = {(SERVICE, "SRV"): [f"0 0 4001 one.{NAME}"]}
    server.additional = [(f"one.{NAME}", "A", ["127.0.0.1"]), (f"ns.{NAME}", "A", ["127.0.0.9"])]
    server.ttl, server.ttls = 30, {(f"ns.{NAME}", "A"): 0}
    found = await look_up(config(server, kind="srv"))
    assert (found.addresses, found.ttl) == ({Address("127.0.0.1", 4001)}, 30)


async def test_srv_records_that_name_no_port_or_no_target_are_left_out(server: DnsServer) -> None:
    server.records = {
        (SERVICE, "SRV"): [
            f"0 0 0 one.{NAME}",
            "0 0 4001 .",
            f"9 9 4002 \\000\\255.one.{NAME}",
            f"0 0 4003 one.{NAME}",
        ],
        (f"one.{NAME}", "A"): ["127.0.0.1"],
    }
    before = bad_values.counts["dns_record"]
    found = await look_up(config(server, kind="srv"))
    assert found.addresses == {Address("127.0.0.1", 4003)}
    assert bad_values.counts["dns_record"] - before == 2
