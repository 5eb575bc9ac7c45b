"""Bytes in, bytes out: no socket."""

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.dns import TTL, Record, Zone

PRODUCT = "product.meshmart.svc.cluster.local."
READY = {
    "product": [Record("product-1", "127.0.1.1", 50051), Record("product-2", "127.0.1.2", 50051)],
    "order": [],
}


def ask(
    name: str, kind: str = "A", ready: dict[str, list[Record]] = READY, tcp: bool = False
) -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    wire = Zone(lambda: ready).answer(query.to_wire(), tcp=tcp)
    assert wire is not None
    response = dns.message.from_wire(wire)
    assert query.is_response(response)
    return response


def hosts(response: dns.message.Message) -> set[str]:
    return {rdata.address for s in response.answer if s.rdtype == dns.rdatatype.A for rdata in s}


def test_a_service_name_has_an_address_for_each_ready_replica() -> None:
    response = ask(PRODUCT)
    assert hosts(response) == {"127.0.1.1", "127.0.1.2"}
    assert response.answer[0].ttl == TTL <= 5
    assert response.flags & dns.flags.AA


def test_names_are_found_without_regard_to_case() -> None:
    assert hosts(ask("Product.MESHMART.svc.cluster.local.")) == {"127.0.1.1", "127.0.1.2"}


@pytest.mark.parametrize("name", ["order", "nobody", "product-9.product", "_grpc._tcp.order", "a.b.c"])
def test_where_nothing_is_ready_there_is_no_such_name(name: str) -> None:
    response = ask(f"{name}.meshmart.svc.cluster.local.")
    assert response.rcode() == dns.rcode.NXDOMAIN
    assert [s.rdtype for s in response.authority] == [dns.rdatatype.SOA]
    assert response.authority[0].ttl == TTL


def test_a_ready_service_has_no_ipv6_addresses_but_exists() -> None:
    response = ask(PRODUCT, "AAAA")
    assert response.rcode() == dns.rcode.NOERROR
    assert not response.answer
    assert [s.rdtype for s in response.authority] == [dns.rdatatype.SOA]


def test_srv_tells_ports_and_the_addresses_of_their_targets() -> None:
    ready = {"product": [Record("product-1", "127.0.0.1", 4001), Record("product-2", "127.0.0.1", 4002)]}
    response = ask("_grpc._tcp." + PRODUCT, "SRV", ready)
    found = {(rdata.port, str(rdata.target)) for rdata in response.answer[0]}
    assert found == {(4001, f"product-1.{PRODUCT}"), (4002, f"product-2.{PRODUCT}")}
    assert {str(s.name) for s in response.additional} == {f"product-1.{PRODUCT}", f"product-2.{PRODUCT}"}


def test_a_replica_has_a_name_of_its_own() -> None:
    assert hosts(ask("product-2." + PRODUCT)) == {"127.0.1.2"}


def test_replicas_that_share_an_address_are_answered_with_it_once() -> None:
    ready = {"product": [Record("product-1", "127.0.0.1", 4001), Record("product-2", "127.0.0.1", 4002)]}
    assert len(ask(PRODUCT, "A", ready).answer[0]) == 1


@pytest.mark.parametrize("name", ["example.com.", "local.", "."])
def test_a_foreign_name_is_refused(name: str) -> None:
    assert ask(name).rcode() == dns.rcode.REFUSED


def test_the_zone_itself_has_a_soa() -> None:
    assert ask("cluster.local.", "SOA").answer[0].rdtype == dns.rdatatype.SOA


def test_an_answer_too_long_for_udp_is_truncated_and_whole_over_tcp() -> None:
    ready = {"product": [Record(f"product-{n}", f"127.0.1.{n}", 50051) for n in range(1, 120)]}
    assert ask(PRODUCT, "A", ready).flags & dns.flags.TC
    assert len(hosts(ask(PRODUCT, "A", ready, tcp=True))) == 119


def test_what_is_no_query_is_not_implemented() -> None:
    query = dns.message.make_query(PRODUCT, "A")
    query.set_opcode(dns.opcode.NOTIFY)
    wire = Zone(lambda: READY).answer(query.to_wire())
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.NOTIMP


def test_a_response_is_not_answered_so_that_two_servers_never_talk_for_ever() -> None:
    query = dns.message.make_query(PRODUCT, "A")
    wire = dns.message.make_response(query).to_wire()
    assert Zone(lambda: READY).answer(wire) is None


@given(st.binary(max_size=600))
def test_garbage_is_answered_with_an_error_or_not_at_all(packet: bytes) -> None:
    wire = Zone(lambda: READY).answer(packet)
    if wire is not None:
        assert len(packet) >= 12
        assert wire[:2] == packet[:2]
        assert wire[2] & 0x80


@given(st.data())
def test_a_damaged_query_never_breaks_the_server(data: st.DataObject) -> None:
    wire = bytearray(dns.message.make_query("_grpc._tcp." + PRODUCT, "SRV").to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    reply = Zone(lambda: READY).answer(bytes(wire[: data.draw(st.integers(0, len(wire)))]))
    assert reply is None or len(reply) >= 12


def test_an_outage_is_silence_or_servfail_until_it_ends() -> None:
    zone, query = Zone(lambda: READY), dns.message.make_query(PRODUCT, "A")
    zone.outage = "silent"
    assert zone.answer(query.to_wire()) is zone.answer(query.to_wire(), tcp=True) is None
    zone.outage = "servfail"
    refused = zone.answer(query.to_wire())
    assert refused is not None
    assert dns.message.from_wire(refused).rcode() == dns.rcode.SERVFAIL
    assert not dns.message.from_wire(refused).answer
    zone.outage = None
    answered = zone.answer(query.to_wire())
    assert answered is not None
    assert hosts(dns.message.from_wire(answered)) == {"127.0.1.1", "127.0.1.2"}


def test_a_repeated_query_is_answered_under_its_own_id_and_follows_what_is_ready() -> None:
    ready = dict(READY)
    zone = Zone(lambda: ready)
    for present in (READY["product"], READY["product"][:1], [], READY["product"]):
        ready["product"] = present
        for _ in range(3):
            query = dns.message.make_query(PRODUCT, "A")
            wire = zone.answer(query.to_wire())
            assert wire is not None
            response = dns.message.from_wire(wire)
            assert query.is_response(response)
            assert hosts(response) == {record.host for record in present}


def test_few_responses_are_remembered_however_many_names_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("local.dns._ANSWERS", 8)
    zone = Zone(lambda: READY)
    for number in range(100):
        assert zone.answer(dns.message.make_query(f"n{number}.{PRODUCT}", "A").to_wire())
        assert len(zone._answers) <= 8
    zone = Zone(lambda: READY)
    assert zone.answer(dns.message.make_query(PRODUCT, "A").to_wire() + bytes(2000))
    assert not zone._answers


def test_an_answer_is_read_and_written_once_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and writing messages takes most of the time, and a starved supervisor has little."""
    zone, read = Zone(lambda: READY), []
    parse = dns.message.from_wire
    monkeypatch.setattr("dns.message.from_wire", lambda *a, **k: read.append(1) or parse(*a, **k))
    for _ in range(50):
        query = dns.message.make_query(PRODUCT, "A")
        zone.answer(query.to_wire())
    assert len(read) == 1
