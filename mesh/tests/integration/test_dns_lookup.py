"""Look-ups against real DNS servers on loopback, good ones and bad ones."""

import asyncio
import os
import struct
from collections.abc import AsyncIterator, Iterable

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
import uvloop

from grpcmesh.bad_values import bad_values
from grpcmesh.config import ResolverConfig
from grpcmesh.resolver import DnsResolver
from grpcmesh.resolver.asking import LookupFailedError
from grpcmesh.resolver.lookup import DnsLookup, Found
from tests.dnskit import NAME, SERVICE, DnsServer, config, dns_servers

Message = dns.message.Message


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with dns_servers() as [made]:
        made.hosts("127.0.1.1", "127.0.1.2")
        made.hosts("::1", kind="AAAA")
        yield made


@pytest.fixture
async def pair() -> AsyncIterator[list[DnsServer]]:
    async with dns_servers(2) as made:
        for server in made:
            server.hosts("127.0.1.1")
        yield made


def with_addresses(query: Message, addresses: list[bytes]) -> bytes:
    """Return an answer with exactly these A records, which dnspython would not write (or not so fast)."""
    head = dns.message.make_response(query, recursion_available=True)
    head.use_edns(False)
    head.answer, wire = [], bytearray(head.to_wire())
    wire[6:8] = len(addresses).to_bytes(2, "big")
    records = (b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + address for address in addresses)
    return bytes(wire) + b"".join(records)


BOTH = {"127.0.1.1:50051", "127.0.1.2:50051", "[::1]:50051"}


def text(found: Found) -> set[str]:
    return {str(address) for address in found.addresses}


async def look_up(settings: ResolverConfig, name: str = NAME) -> Found:
    async with asyncio.timeout(20):
        return await DnsLookup(settings, name)()


async def test_a_and_aaaa_are_asked_of_the_full_name(server: DnsServer) -> None:
    found = await look_up(config(server))
    assert (text(found), found.ttl, found.problem) == (BOTH, 1, "")
    assert sorted(server.asked) == [f"{NAME} A", f"{NAME} AAAA"]


async def test_a_target_may_name_its_port(server: DnsServer) -> None:
    found = await DnsLookup(config(server, kind="srv"), NAME, 8443)()
    assert {a.port for a in found.addresses} == {8443}


async def test_a_lost_datagram_is_sent_again(server: DnsServer) -> None:
    server.lose = 2
    assert text(await look_up(config(server, timeout=2.0))) == BOTH


async def test_the_next_nameserver_is_asked_where_the_first_is_silent(pair: list[DnsServer]) -> None:
    dead, alive = pair
    dead.silent = dead.silent_tcp = True
    assert text(await look_up(config(dead, alive))) == {"127.0.1.1:50051"}
    assert dead.asked


async def test_a_nameserver_that_is_not_there_costs_no_wait(pair: list[DnsServer]) -> None:
    gone, alive = pair
    await gone.stop()
    try:
        found = await look_up(config(gone, alive, try_interval=5.0))
    finally:
        await gone.start()
    assert text(found) == {"127.0.1.1:50051"}


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "YXDOMAIN"])
async def test_the_next_nameserver_is_asked_where_the_first_fails(pair: list[DnsServer], rcode: str) -> None:
    failing, alive = pair
    failing.rcodes = {(NAME, "A"): rcode, (NAME, "AAAA"): rcode}
    assert text(await look_up(config(failing, alive, try_interval=5.0))) == {"127.0.1.1:50051"}


async def test_a_nameserver_that_fails_for_all_is_named(server: DnsServer) -> None:
    server.rcodes = {(NAME, "A"): "SERVFAIL", (NAME, "AAAA"): "SERVFAIL"}
    with pytest.raises(LookupFailedError, match=f"{server.endpoint} SERVFAIL") as e:
        await look_up(config(server))
    assert e.value.result == "error"


async def test_silence_is_a_failure_when_the_time_is_over(server: DnsServer) -> None:
    server.silent = True
    with pytest.raises(LookupFailedError, match=f"{server.endpoint} did not answer") as e:
        await look_up(config(server, timeout=0.5))
    assert e.value.result == "timeout"
    # Again after 0.2 s, unless the process is held up; a third would come after 0.6 s. See test_dns_asking.
    assert server.asked.count(f"{NAME} A") in (1, 2)


async def test_a_truncated_answer_is_asked_for_over_tcp(server: DnsServer) -> None:
    server.hosts(*(f"127.0.2.{i}" for i in range(1, 200)))
    server.truncate = True
    assert len((await look_up(config(server))).addresses) == 200
    assert f"{NAME} A tcp" in server.asked


async def test_tcp_that_never_answers_does_not_hold_up_the_next_nameserver(pair: list[DnsServer]) -> None:
    stuck, alive = pair
    stuck.truncate = stuck.silent_tcp = True
    assert text(await look_up(config(stuck, alive))) == {"127.0.1.1:50051"}
    assert f"{NAME} A tcp" in stuck.asked


async def test_tcp_that_never_answers_ends_with_the_look_up(server: DnsServer) -> None:
    server.truncate = server.silent_tcp = True
    with pytest.raises(LookupFailedError) as e:
        await look_up(config(server, timeout=0.5))
    assert e.value.result == "timeout"
    server.truncate = False
    assert text(await look_up(config(server))) == BOTH


async def test_an_answer_truncated_over_tcp_is_no_answer(server: DnsServer) -> None:
    def cut(query: Message, tcp: bool, answer: Message) -> Iterable[bytes]:
        answer.flags |= dns.flags.TC
        answer.answer = []
        return [answer.to_wire()]

    server.script = cut
    with pytest.raises(LookupFailedError, match="truncated over TCP"):
        await look_up(config(server))


async def test_a_server_without_edns_is_asked_without_it(server: DnsServer) -> None:
    server.edns = False
    assert text(await look_up(config(server))) == BOTH


async def test_answers_that_were_not_asked_for_are_not_believed(server: DnsServer) -> None:
    """They are those of a spoofer who guesses: a wrong id, a wrong question, no answer, garbage."""

    def spoof(query: Message, tcp: bool, answer: Message) -> Iterable[bytes]:
        lie = dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "127.6.6.6")
        wrong_id = dns.message.make_response(query)
        wrong_id.id ^= 1
        wrong_id.answer = [lie]
        other = dns.message.make_response(dns.message.make_query("other.", "A", id=query.id))
        other.answer = [lie]
        yield from (wrong_id.to_wire(), other.to_wire(), query.to_wire(), b"", b"\xff" * 40)
        yield answer.to_wire()

    before = bad_values.counts["dns_message"]
    server.script = spoof
    assert text(await look_up(config(server, try_interval=5.0))) == BOTH
    assert bad_values.counts["dns_message"] - before >= 8


async def test_an_answer_from_another_port_is_not_believed(server: DnsServer) -> None:
    loop = asyncio.get_running_loop()
    elsewhere, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
    original = server.datagram_received

    def spoofed(data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        lie = dns.message.make_response(query)
        lie.answer = [dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "127.6.6.6")]
        elsewhere.sendto(lie.to_wire(), addr)
        original(data, addr)

    server.datagram_received = spoofed  # type: ignore[method-assign]
    try:
        assert text(await look_up(config(server))) == BOTH
    finally:
        elsewhere.close()


async def test_a_flood_of_what_was_not_asked_for_ends(pair: list[DnsServer]) -> None:
    noisy, alive = pair
    noisy.script = lambda query, tcp, answer: [b"noise"] * 200
    assert text(await look_up(config(noisy, alive, try_interval=5.0))) == {"127.0.1.1:50051"}


GARBAGE = {
    "a CNAME loop": [(NAME, "CNAME", "a."), ("a.", "CNAME", NAME)],
    "a long chain": [(NAME, "CNAME", "a0."), *((f"a{i}.", "CNAME", f"a{i + 1}.") for i in range(50))],
}


@pytest.mark.parametrize("records", GARBAGE.values(), ids=GARBAGE)
async def test_aliases_that_lead_nowhere_are_no_answer(
    pair: list[DnsServer], records: list[tuple[str, str, str]]
) -> None:
    def loop(query: Message, tcp: bool, answer: Message) -> Iterable[bytes]:
        answer.answer = [dns.rrset.from_text(name, 5, "IN", kind, value) for name, kind, value in records]
        return [answer.to_wire()]

    bad, good = pair
    bad.script = loop
    assert text(await look_up(config(bad, good, try_interval=5.0))) == {"127.0.1.1:50051"}
    with pytest.raises(LookupFailedError, match="an alias that leads nowhere"):
        await look_up(config(bad))


async def test_an_alias_that_an_answer_leaves_open_is_asked_for(server: DnsServer) -> None:
    """Servers that do not follow aliases themselves answer with one alias at a time."""
    server.records |= {("alias.", "CNAME"): ["b."], ("b.", "CNAME"): [NAME]}
    server.ttls = {("alias.", "CNAME"): 7, ("b.", "CNAME"): 3}
    server.ttl = 60

    def only_the_first(query: Message, tcp: bool, answer: Message) -> Iterable[bytes]:
        answer.answer = answer.answer[:1]
        return [answer.to_wire()]

    server.script = only_the_first
    found = await look_up(config(server), "alias.")
    assert (text(found), found.ttl) == (BOTH, 3)


async def test_aliases_without_end_end(server: DnsServer) -> None:
    server.records = {(f"a{i}.", "CNAME"): [f"a{i + 1}."] for i in range(100)}

    def only_the_first(query: Message, tcp: bool, answer: Message) -> Iterable[bytes]:
        answer.answer = answer.answer[:1]
        answer.set_rcode(dns.rcode.NOERROR)
        return [answer.to_wire()]

    server.script = only_the_first
    with pytest.raises(LookupFailedError, match="aliases in a row"):
        await look_up(config(server), "a0.")
    assert len(server.asked) <= 20


async def test_the_smallest_ttl_of_the_chain_counts(server: DnsServer) -> None:
    server.records |= {("alias.", "CNAME"): ["b."], ("b.", "CNAME"): [NAME]}
    server.ttls = {("alias.", "CNAME"): 30, ("b.", "CNAME"): 2}
    server.ttl = 300
    assert (await look_up(config(server), "alias.")).ttl == 2


@pytest.mark.parametrize(("negative", "ttl"), [(None, None), (4, 4.0)])
async def test_a_name_that_does_not_exist_is_an_answer(
    server: DnsServer, negative: int | None, ttl: float | None
) -> None:
    server.negative = negative
    found = await look_up(config(server), "other.")
    assert (found.addresses, found.result, found.ttl) == (frozenset(), "nxdomain", ttl)


async def test_a_name_without_addresses_is_an_answer(server: DnsServer) -> None:
    server.records = {(NAME, "TXT"): ['"nothing"']}
    found = await look_up(config(server))
    assert (found.addresses, found.result) == (frozenset(), "empty")


@pytest.mark.parametrize("how", ["SERVFAIL", "silence"])
async def test_a_family_that_fails_does_not_hold_up_the_other(server: DnsServer, how: str) -> None:
    if how == "silence":
        server.script = lambda query, tcp, answer: (
            [] if query.question[0].rdtype.name == "AAAA" else [answer.to_wire()]
        )
    else:
        server.rcodes = {(NAME, "AAAA"): how}
    started = asyncio.get_running_loop().time()
    found = await look_up(config(server, timeout=60.0, try_interval=20.0))
    assert text(found) == {"127.0.1.1:50051", "127.0.1.2:50051"}
    assert "AAAA" in found.problem
    assert asyncio.get_running_loop().time() - started < 20  # not the 60 s of the look-up


async def test_a_family_that_fails_keeps_its_last_addresses(server: DnsServer) -> None:
    lookup = DnsLookup(config(server), NAME)
    assert text(await lookup()) == BOTH
    server.rcodes = {(NAME, "AAAA"): "SERVFAIL"}
    server.hosts("127.0.1.3")
    assert text(await lookup()) == {"127.0.1.3:50051", "[::1]:50051"}
    server.rcodes = {(NAME, "AAAA"): "SERVFAIL", (NAME, "A"): "SERVFAIL"}
    with pytest.raises(LookupFailedError):
        await lookup()


async def test_addresses_that_nobody_can_be_reached_at_are_left_out(server: DnsServer) -> None:
    server.hosts("0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "240.0.0.1", "127.0.1.1")
    server.hosts("::", "ff02::1", "fe80::1", "::ffff:127.0.1.1", "::ffff:0.0.0.0", "::1", kind="AAAA")
    before = bad_values.counts["dns_record"]
    assert text(await look_up(config(server))) == {"127.0.1.1:50051", "[::1]:50051"}
    assert bad_values.counts["dns_record"] - before == 9


async def test_an_answer_with_thousands_of_addresses_is_cut_to_the_bound(server: DnsServer) -> None:
    addresses = [bytes((10, i >> 16, i >> 8 & 255, i & 255)) for i in range(3900)]

    def many(query: Message, tcp: bool, answer: Message) -> Iterable[bytes]:
        if query.question[0].rdtype.name == "AAAA" or not tcp:
            answer.answer = []
            answer.flags |= 0 if tcp else dns.flags.TC
            return [answer.to_wire()]
        return [with_addresses(query, addresses)]

    server.script = many
    resolver = DnsResolver(config(server, max_endpoints=100, max_interval=0.05), NAME)
    before = bad_values.counts["dns_excess"]
    watching = resolver.watch()
    async with asyncio.timeout(20):
        first = await anext(watching)
        addresses.append(bytes((9, 9, 9, 9)))
        second = await anext(watching)
    await watching.aclose()
    assert len(first) == 100
    assert first == second  # those that are known stay
    assert bad_values.counts["dns_excess"] - before >= 2 * 3800


async def test_duplicates_are_one_endpoint(server: DnsServer) -> None:
    def twice(query: Message, tcp: bool, answer: Message) -> Iterable[bytes]:
        if query.question[0].rdtype.name != "A":
            return [answer.to_wire()]
        return [with_addresses(query, [bytes((127, 0, 1, 1)), bytes((127, 0, 1, 2))] * 2)]

    server.script = twice
    assert text(await look_up(config(server))) == BOTH


@pytest.mark.parametrize("kind", ["dns", "srv"])
async def test_a_silent_server_that_comes_back_is_believed_within_a_ttl(server: DnsServer, kind: str) -> None:
    server.records |= {(SERVICE, "SRV"): [f"0 0 4001 {NAME}"]}
    server.silent = server.silent_tcp = True
    resolver = DnsResolver(config(server, kind=kind, timeout=0.5), NAME)
    watching = asyncio.create_task(anext(resolver.watch()))
    async with asyncio.timeout(20):
        while "did not answer" not in resolver.error:  # noqa: ASYNC110 - the resolver tells nobody
            await asyncio.sleep(0.01)
        asked = len(server.asked)
        server.silent = server.silent_tcp = False
        assert {a.host for a in await watching} == {"127.0.1.1", "127.0.1.2", "::1"}
    assert len(server.asked) - asked <= 6


def test_it_works_on_uvloop_too() -> None:
    async def scenario() -> None:
        async with dns_servers(2) as [truncating, silent]:
            truncating.hosts("127.0.1.1")
            truncating.truncate = True
            silent.silent = True
            assert text(await look_up(config(silent, truncating))) == {"127.0.1.1:50051"}
            with pytest.raises(LookupFailedError, match="did not answer"):
                await look_up(config(silent, timeout=0.5))
            await truncating.stop()
            with pytest.raises(LookupFailedError, match="refused"):
                await look_up(config(truncating))
            await truncating.start()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_a_look_up_that_is_cancelled_leaves_nothing_open(server: DnsServer) -> None:
    server.silent = True
    before = set(os.listdir("/proc/self/fd"))
    looking = asyncio.create_task(look_up(config(server)))
    while len(server.asked) < 2:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)
    assert len(set(os.listdir("/proc/self/fd")) - before) >= 2
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert set(os.listdir("/proc/self/fd")) <= before
    assert asyncio.all_tasks() == {asyncio.current_task()}
