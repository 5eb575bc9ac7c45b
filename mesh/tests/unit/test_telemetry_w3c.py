"""Parsing and forwarding of `traceparent`, `tracestate` and `baggage`."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.bad_values import bad_values
from grpcmesh.call import TraceContext
from grpcmesh.telemetry.w3c import (
    MAX_BAGGAGE,
    MAX_BAGGAGE_MEMBERS,
    MAX_STATE,
    baggage_items,
    format_traceparent,
    parse_baggage,
    parse_traceparent,
    parse_traceparents,
    parse_tracestate,
)
from tests.unit.tracingkit import SAMPLED

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
members = st.lists(
    st.from_regex(r"[a-z][a-z0-9_*/-]{0,20}=[a-zA-Z0-9.:-]{1,20}", fullmatch=True), max_size=32
)


@pytest.mark.parametrize("value", [f" {PARENT}\t", PARENT.encode(), "cc" + PARENT[2:] + "-what-comes-later"])
def test_a_traceparent_is_read(value: str | bytes) -> None:
    trace = parse_traceparent(value)
    assert trace is not None
    assert (trace.trace_id, trace.sampled) == ("0af7651916cd43dd8448eb211c80319c", True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        PARENT + "-",
        PARENT + "\n",
        PARENT.replace("0af", "0aF"),
        PARENT.replace("0af", "0ag"),
        PARENT + "," + PARENT,
        "cc" + PARENT[2:] + ".what",
        PARENT.replace("00-", "٠٠-"),
        b"\xff" * 55,
    ],
)
def test_a_malformed_traceparent_is_none_and_counted(value: str | bytes) -> None:
    before = bad_values.counts["traceparent"]
    assert parse_traceparent(value) is None
    assert bad_values.counts["traceparent"] - before == 1


LATER = "01" + PARENT[2:] + "-what-comes-later"


@pytest.mark.parametrize(
    "values",
    [[PARENT, PARENT], [PARENT, LATER], [LATER, PARENT], [LATER.encode(), LATER], [f"{LATER},{PARENT}"]],
)
def test_more_than_one_traceparent_is_none_and_counted_once(values: list[str | bytes]) -> None:
    before = bad_values.counts["traceparent"]
    assert parse_traceparents(values) is None
    assert bad_values.counts["traceparent"] - before == 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        ([""], ""),
        (["a=1"], "a=1"),
        (["a=1,b=2", "c=3"], "a=1,b=2,c=3"),
        ([b"a=1", "b=2"], "a=1,b=2"),
        (["a=1 ,\t b=2,, ,c=3"], "a=1,b=2,c=3"),
        (["t61rcwkgmze@vendor=v, 0t@v=1"], "t61rcwkgmze@vendor=v,0t@v=1"),
        (["a= 1"], "a= 1"),
        (["a_-*/=!~"], "a_-*/=!~"),
    ],
)
def test_a_tracestate_is_joined(values: list[str | bytes], expected: str) -> None:
    assert parse_tracestate(values) == expected


@pytest.mark.parametrize(
    "values",
    [
        ["a"],
        ["a="],
        ["=1"],
        ["A=1"],
        ["0a=1"],
        ["a=1=2"],
        ["a=ü"],
        ["a=\x7f"],
        ["a=1\r\nb: 2"],
        ["a =1"],
        ["a@b@c=1"],
        ["a" * 257 + "=1"],
        ["a=" + "1" * 257],
        ["a=1", "b=2,a=3"],
        [",".join(f"k{i}=1" for i in range(33))],
        [b"\xff=1"],
    ],
)
def test_a_malformed_tracestate_is_dropped_and_counted(values: list[str | bytes]) -> None:
    before = bad_values.counts["tracestate"]
    assert parse_tracestate(values) == ""
    assert bad_values.counts["tracestate"] - before == 1


def test_thirty_two_members_are_not_too_many() -> None:
    text = ",".join(f"k{i}=1" for i in range(32))
    assert parse_tracestate([text]) == text


def test_a_tracestate_that_is_too_long_loses_long_members_first_and_then_the_last() -> None:
    long = "long=" + "x" * 200
    short = [f"k{i:02}=" + "y" * 46 for i in range(12)]
    kept = parse_tracestate([",".join([long, *short])])
    assert len(kept) <= MAX_STATE
    assert kept.split(",") == short[:10]


@given(members, st.integers(0, 40))
def test_whatever_is_read_of_a_tracestate_is_read_again(found: list[str], cut: int) -> None:
    once = parse_tracestate([",".join(found[:cut]), ",".join(found[cut:])])
    assert parse_tracestate([once] if once else []) == once


anything = st.lists(
    st.text(max_size=40) | st.binary(max_size=40) | st.from_regex(r"[a-z=;, %0-9]{0,60}"), max_size=8
)


@given(anything)
def test_garbage_raises_nothing_and_what_is_sent_on_is_printable_ascii(values: list[str | bytes]) -> None:
    for value in values:
        parse_traceparent(value)
    for sent in (parse_tracestate(values), parse_baggage(values)):
        assert sent.isascii()
        assert all(" " <= char <= "~" or char == "\t" for char in sent)
    baggage_items(parse_baggage(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        (["user=1"], "user=1"),
        (["a=1,b=2", "c=3"], "a=1,b=2,c=3"),
        (["a = 1 ; p1 ; p2 = x , b=2"], "a = 1 ; p1 ; p2 = x,b=2"),
        (["a="], "a="),
        (["a=%20%C3%BC"], "a=%20%C3%BC"),
    ],
)
def test_baggage_is_joined_as_it_came(values: list[str | bytes], expected: str) -> None:
    before = bad_values.counts["baggage"]
    assert parse_baggage(values) == expected
    assert bad_values.counts["baggage"] == before


@pytest.mark.parametrize(
    "bad", ["a", "=1", "a b=1", "a=ü", 'a="1"', "a=1;", "a=1;=2", "a=\x00", "ü=1", "a=1\r\nx: y"]
)
def test_a_malformed_member_of_baggage_is_left_out_and_counted(bad: str) -> None:
    before = bad_values.counts["baggage"]
    assert parse_baggage([f"x=1,{bad},y=2"]) == "x=1,y=2"
    assert bad_values.counts["baggage"] - before == 1


@given(st.lists(st.from_regex(r"[a-z]{1,9}=[a-z0-9]{0,400}", fullmatch=True), min_size=1, max_size=90))
def test_baggage_is_bounded_and_never_cut_within_a_member(found: list[str]) -> None:
    kept = parse_baggage([",".join(found)])
    assert len(kept) <= MAX_BAGGAGE
    assert kept.split(",") == found[: kept.count(",") + 1]
    if len(found) <= MAX_BAGGAGE_MEMBERS and len(",".join(found)) <= MAX_BAGGAGE:
        assert kept == ",".join(found)
    else:
        assert kept.count(",") + 1 <= MAX_BAGGAGE_MEMBERS


def _cost(member: str) -> float:
    """Return the CPU time in seconds of parsing a member: the least of several, to leave out noise."""
    times = []
    for _ in range(5):
        started = time.thread_time()
        parse_baggage([member])
        times.append(time.thread_time() - started)
    return max(min(times), 1e-6)


@pytest.mark.parametrize(
    ("part", "small", "large"),
    [
        pytest.param(";a= ", 9, 18, id="blank after ="),
        pytest.param(";a = b ", 6, 12, id="blanks around ="),
        pytest.param(";a\t=\t\t", 6, 12, id="tabs"),
        pytest.param(" ", 500, 8000, id="blanks"),
        pytest.param(";a", 250, 4000, id="properties"),
        pytest.param("b", 500, 8000, id="value"),
    ],
)
def test_the_cost_of_a_malformed_member_grows_as_its_length(part: str, small: int, large: int) -> None:
    """A member that almost matches must not be tried in all ways: 22 properties took 8 s, 30 half an hour."""
    cost = {n: _cost("k=" + part * n + '"') for n in (small, large)}
    assert cost[large] / cost[small] < 4 * large / small


def test_items_of_baggage_are_decoded() -> None:
    assert baggage_items("a=%C3%BC%20;p=1,b = x,c=%ff,d=") == {"a": "ü ", "b": "x", "c": "\ufffd", "d": ""}


ids = st.builds(
    TraceContext,
    st.integers(1, 2**128 - 1).map("{:032x}".format),
    st.integers(1, 2**64 - 1).map("{:016x}".format),
    st.booleans(),
    st.just(""),  # tracestate travels apart
)


@given(ids)
def test_a_context_survives_the_wire(context: TraceContext) -> None:
    assert parse_traceparent(format_traceparent(context)) == context


@given(st.text() | st.binary())
def test_any_garbage_is_no_context_rather_than_an_error(garbage: str | bytes) -> None:
    parse_traceparent(garbage)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ],
)
def test_a_malformed_header_is_no_context(header: str) -> None:
    assert parse_traceparent(header) is None


def test_a_later_version_may_have_more_fields_and_flags() -> None:
    header = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-more"
    assert parse_traceparent(header) == SAMPLED
