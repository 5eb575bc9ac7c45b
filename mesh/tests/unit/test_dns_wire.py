"""Parsing of DNS messages: it agrees with dnspython, and rejects garbage at little cost."""

import struct
import sys
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.resolver import wire
from grpcmesh.resolver.wire import MalformedError, Question, Record, Service, encode_name, name_text, parse

NAME = "product.shop.svc.cluster.local."
ASKED = Question(encode_name(NAME), wire.A)

labels = st.text("abcXYZ019-_", min_size=1, max_size=12)
names = st.lists(labels, min_size=1, max_size=5).map(lambda found: ".".join(found) + ".")
ttls = st.integers(0, 2**31 - 1)


def values(kind: str) -> st.SearchStrategy[str]:
    return {
        "A": st.ip_addresses(v=4).map(str),
        "AAAA": st.ip_addresses(v=6).map(str),
        "CNAME": names,
        "SRV": st.builds("{} {} {} {}".format, *([st.integers(0, 65535)] * 3), names),
        "SOA": st.builds("{} {} 1 2 3 4 {}".format, names, names, ttls),
        "TXT": st.just('"anything"'),
    }[kind]


rrsets = st.sampled_from(["A", "AAAA", "CNAME", "SRV", "SOA", "TXT"]).flatmap(
    lambda kind: st.tuples(names, ttls, st.just("IN"), st.just(kind), values(kind))
)


def answer_to(query: dns.message.Message, **sections: list[Any]) -> dns.message.Message:
    answer = dns.message.make_response(query)
    for section, found in sections.items():
        setattr(answer, section, [dns.rrset.from_text(*one) for one in found])
    return answer


def query(question: Question = ASKED, message_id: int = 7) -> dns.message.Message:
    return dns.message.from_wire(wire.encode_query(question, message_id, edns=True))


@given(names, st.sampled_from([wire.A, wire.AAAA, wire.SRV]), st.integers(0, 65535), st.booleans())
def test_a_query_is_one_that_dnspython_understands(name: str, kind: int, message_id: int, edns: bool) -> None:
    read = dns.message.from_wire(wire.encode_query(Question(encode_name(name), kind), message_id, edns=edns))
    assert (read.id, read.flags, read.payload) == (message_id, dns.flags.RD, wire.PAYLOAD if edns else 0)
    assert read.question[0].name == dns.name.from_text(name)
    assert read.question[0].rdtype == kind


def expected(found: list[dns.rrset.RRset]) -> list[Record]:
    """Return dnspython's records as records of ours."""
    return [
        Record(encode_name(rrset.name.to_text()), rrset.rdtype, rrset.ttl, value)
        for rrset in found
        for data in rrset
        if (value := _value(data)) is not None
    ]


def _value(data: Any) -> Any:
    match data.rdtype.name:
        case "A" | "AAAA":
            return data.to_wire()
        case "CNAME":
            return encode_name(data.target.to_text())
        case "SRV":
            return Service(data.priority, data.weight, data.port, encode_name(data.target.to_text()))
        case "SOA":
            return data.minimum
    return None


@given(st.lists(rrsets, max_size=6), st.lists(rrsets, max_size=3), st.lists(rrsets, max_size=3))
def test_what_dnspython_writes_is_read_as_dnspython_reads_it(
    answer: list[Any], authority: list[Any], additional: list[Any]
) -> None:
    data = answer_to(query(), answer=answer, authority=authority, additional=additional).to_wire()
    ours, theirs = parse(data, 7, ASKED), dns.message.from_wire(data, one_rr_per_rrset=True)
    assert ours.answer == expected(theirs.answer)
    assert ours.authority == expected(theirs.authority)
    assert ours.additional == expected(theirs.additional)
    assert ours.rcode == theirs.rcode()


def test_flags_and_extended_codes_are_read() -> None:
    answer = answer_to(query())
    answer.flags |= dns.flags.AA | dns.flags.RA
    answer.set_rcode(dns.rcode.BADVERS)
    read = parse(answer.to_wire(), 7, ASKED)
    assert (read.authoritative, read.recursion_available, read.rcode) == (True, True, 16)
    answer.flags |= dns.flags.TC
    assert parse(answer.to_wire(), 7, ASKED).truncated


def test_case_is_no_difference() -> None:
    answer = answer_to(query(), answer=[(NAME.upper(), 5, "IN", "A", "127.0.0.1")])
    answer.question[0].name = dns.name.from_text(NAME.title())
    [record] = parse(answer.to_wire(), 7, ASKED).answer
    assert record.name == ASKED.name


@pytest.mark.parametrize("change", ["id", "name", "kind", "class", "query", "no question"])
def test_what_answers_something_else_is_refused(change: str) -> None:
    answer = answer_to(query(), answer=[(NAME, 5, "IN", "A", "127.0.0.1")])
    if change == "id":
        answer.id = 8
    elif change == "query":
        answer.flags &= ~dns.flags.QR
    elif change == "no question":
        answer.question = []
    else:
        other = {"name": ("x.", "IN", "A"), "kind": (NAME, "IN", "AAAA"), "class": (NAME, "CH", "A")}[change]
        answer.question = [dns.rrset.from_text(other[0], 0, *other[1:])]
    with pytest.raises(MalformedError):
        parse(answer.to_wire(), 7, ASKED)


def test_a_refusal_may_leave_the_question_out() -> None:
    answer = answer_to(query())
    answer.set_rcode(dns.rcode.FORMERR)
    answer.question = []
    assert parse(answer.to_wire(), 7, ASKED).rcode == 1


def test_a_ttl_with_the_highest_bit_is_none() -> None:
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 2**31, 4) + b"\x7f\0\0\1"
    [read] = parse(message(record, 1), 7, ASKED).answer
    assert read.ttl == 0


def message(records: bytes, count: int, name: bytes = ASKED.name, kind: int = wire.A) -> bytes:
    return struct.pack("!HHHHHH", 7, 0x8180, 1, count, 0, 0) + name + struct.pack("!HH", kind, 1) + records


_HEAD = struct.pack("!HHI", 5, 1, 60)  # a CNAME


@pytest.mark.parametrize(
    "records",
    [
        b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 5) + b"12345",
        b"\xc0\x0c" + struct.pack("!HHIH", 28, 1, 60, 4) + b"1234",
        b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 400) + b"1234",
        b"\xc0\x0c" + _HEAD + b"\0\2\xff\xff",
        b"\xc0\x0c" + _HEAD + b"\0\2" + struct.pack("!H", 0xC000 | 28 + len(ASKED.name)),  # to itself
        b"\xc0\x0c" + _HEAD + b"\0\3\xc0\x0c\0",
        b"\x40abc",
        b"\x3f" + b"a" * 10,
        (b"\x3f" + b"a" * 63) * 5 + b"\0",
        b"\xc0",
        b"\xc0\x0c\0\5",
        b"",
    ],
)
def test_a_broken_record_is_refused(records: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(message(records, 1), 7, ASKED)


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_is_raised(garbage: bytes) -> None:
    for data in (garbage, message(garbage, 5), message(garbage, 65535)):
        try:
            parse(data, 7, ASKED)
        except MalformedError:
            continue


@given(st.data())
def test_a_message_with_wrong_bytes_is_read_or_refused(data: st.DataObject) -> None:
    wires = answer_to(
        query(),
        answer=[(NAME, 5, "IN", "CNAME", "a.b."), ("a.b.", 5, "IN", "A", "127.0.0.1")],
        additional=[("c.b.", 5, "IN", "SRV", "1 2 3 d.a.b.")],
    ).to_wire()
    changed = bytearray(wires)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(wires) - 1), st.integers(0, 255)))):
        changed[at] = byte
    try:
        parse(bytes(changed[: data.draw(st.integers(0, len(wires)))]), 7, ASKED)
    except MalformedError:
        return


@given(st.binary(max_size=40) | st.just(b"\x1b[31m\n\r"))
def test_any_name_is_written_in_printable_ascii(label: bytes) -> None:
    text = name_text(bytes([len(label)]) + label + b"\0" if label else b"\0")
    assert text.isascii()
    assert text.isprintable()


def calls_while(work: Any) -> int:
    """Count the Python functions called, as a measure of work that does not depend on the machine."""
    calls = 0

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(note)
    try:
        work()
    except MalformedError:
        pass
    finally:
        sys.setprofile(None)
    return calls


def hostile(kind: str) -> tuple[bytes, int, Question]:
    """Return 64 KB that are expensive to parse, their number of records, and the question they answer."""
    long = b"\x01a" * 126 + b"\0"
    record = {
        "a long name twice in each record": b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 1, 2) + b"\xc0\x0c",
        "addresses": b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + b"1234",
        "long names uncompressed": long + struct.pack("!HHIH", 1, 1, 1, 4) + b"1234",
    }[kind]
    count = (65535 - 300) // len(record)
    return message(record * count, count, long, wire.CNAME), count, Question(long, wire.CNAME)


@pytest.mark.parametrize("kind", ["a long name twice in each record", "addresses", "long names uncompressed"])
def test_the_cost_of_a_hostile_message_is_bounded_by_its_records(kind: str) -> None:
    data, count, question = hostile(kind)
    assert calls_while(lambda: parse(data, 7, question)) <= 10 * count + 50


def test_a_chain_of_pointers_costs_no_more_than_its_length() -> None:
    """Each name is a pointer to the one before it."""
    records, at = b"", 12 + len(ASKED.name) + 4
    previous = 12
    for _ in range(900):
        records += struct.pack("!H", 0xC000 | previous) + struct.pack("!HHIH", 16, 1, 1, 0)
        previous, at = at, at + 12
    assert calls_while(lambda: parse(message(records, 900), 7, ASKED)) <= 10 * 900 + 50


def test_names_are_checked_before_they_are_asked_for() -> None:
    for name in ("", "a..b", "a" * 64, ".".join(["a" * 60] * 5)):
        with pytest.raises(ValueError, match="is not a DNS name"):
            encode_name(name)
