"""The meaning of DNS answers, and how several are combined."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.resolver import Address, wire
from grpcmesh.resolver.answers import Answer, AnswerError, read, usable_address
from grpcmesh.resolver.asking import LookupFailedError
from grpcmesh.resolver.merge import LastAnswers, bounded
from grpcmesh.resolver.wire import Message, Question, Record, encode_name

X, Y, Z = (encode_name(name) for name in ("x.", "y.", "z."))
ONE, TWO, SIX = bytes((127, 0, 0, 1)), bytes((127, 0, 0, 2)), bytes(15) + b"\1"
A_OF_X, AAAA_OF_X = Question(X, wire.A), Question(X, wire.AAAA)
FAILED = LookupFailedError("timeout", "no answer")


def alias(name: bytes, target: bytes, ttl: int) -> Record:
    return Record(name, wire.CNAME, ttl, target)


def address(name: bytes, value: bytes = ONE, ttl: int = 60) -> Record:
    return Record(name, wire.A, ttl, value)


def test_the_smallest_ttl_on_the_chain_counts() -> None:
    message = Message(0, answer=[address(Z, ttl=30), alias(X, Y, 300), address(Z, TWO, 20), alias(Y, Z, 25)])
    assert read(message, A_OF_X) == Answer((ONE, TWO), 20)
    message.answer[1] = alias(X, Y, 3)
    assert read(message, A_OF_X).ttl == 3


def test_records_of_other_names_are_not_taken() -> None:
    answer = read(Message(0, answer=[address(Y), alias(Z, Y, 5)]), A_OF_X)
    assert answer == Answer()


@pytest.mark.parametrize("answer", [[alias(X, X, 1)], [alias(X, Y, 1), alias(Y, X, 1)]])
def test_a_loop_is_an_error(answer: list[Record]) -> None:
    with pytest.raises(AnswerError, match="an alias that leads nowhere"):
        read(Message(0, answer=answer), A_OF_X)


def test_a_long_chain_is_an_error() -> None:
    chain = [encode_name(f"a{i}.") for i in range(20)]
    answer = [alias(a, b, 1) for a, b in zip([X, *chain], chain, strict=False)]
    with pytest.raises(AnswerError):
        read(Message(0, answer=answer), A_OF_X)


@pytest.mark.parametrize(("ttl", "minimum", "expected"), [(3600, 5, 5), (5, 3600, 5), (0, 60, 0), (60, 0, 0)])
def test_a_negative_answer_holds_for_the_smaller_of_both(ttl: int, minimum: int, expected: float) -> None:
    message = Message(3, authority=[Record(Y, wire.SOA, ttl, minimum)])
    assert read(message, A_OF_X) == Answer(ttl=expected, exists=False)
    message.rcode = 0
    assert read(message, A_OF_X) == Answer(ttl=expected)


def test_an_alias_that_the_answer_leaves_open_is_told() -> None:
    assert read(Message(0, answer=[alias(X, Y, 9)]), A_OF_X) == Answer(ttl=9, alias=Y)
    closed = Message(0, answer=[alias(X, Y, 9)], authority=[Record(Y, wire.SOA, 60, 4)])
    assert read(closed, A_OF_X) == Answer(ttl=4)


records = st.builds(
    Record,
    st.sampled_from([X, Y, Z]),
    st.sampled_from([wire.A, wire.CNAME]),
    st.integers(0, 100),
    st.sampled_from([X, Y, Z]),
)


@given(st.lists(records, max_size=8), st.sampled_from([0, 3]))
def test_any_records_are_an_answer_or_an_answer_error(answer: list[Record], rcode: int) -> None:
    try:
        found = read(Message(rcode, answer=answer), A_OF_X)
    except AnswerError:
        return
    assert found.ttl is None or found.ttl >= 0


@given(st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16))
def test_an_address_is_usable_or_left_out(packed: bytes) -> None:
    text = usable_address(packed)
    assert text is None or Address(text, 1).uri.startswith(("ipv4:", "ipv6:["))


def test_a_family_that_fails_is_stood_in_for_by_its_last_answer() -> None:
    last = LastAnswers()
    both = last.merge({A_OF_X: Answer((ONE,), 5), AAAA_OF_X: Answer((SIX,), 9)})
    assert (both.addresses, both.ttl, both.problem) == ({"127.0.0.1", "::1"}, 5, "")
    one_failed = last.merge({A_OF_X: Answer((TWO,), 5), AAAA_OF_X: FAILED})
    assert (one_failed.addresses, one_failed.problem) == ({"127.0.0.2", "::1"}, "no answer")


def test_a_family_that_was_empty_is_not_missed() -> None:
    last = LastAnswers()
    assert last.merge({A_OF_X: Answer((ONE,), 60), AAAA_OF_X: Answer(ttl=1)}).ttl == 60
    assert last.merge({A_OF_X: Answer((), 5), AAAA_OF_X: FAILED}).addresses == frozenset()


def test_a_failure_counts_where_nothing_else_is_known() -> None:
    last = LastAnswers()
    with pytest.raises(LookupFailedError):
        last.merge({A_OF_X: Answer((), 5), AAAA_OF_X: FAILED})
    with pytest.raises(LookupFailedError):
        last.merge({A_OF_X: FAILED, AAAA_OF_X: FAILED})
    assert not LastAnswers().merge({A_OF_X: Answer(exists=False), AAAA_OF_X: FAILED}).exists


def test_what_is_no_longer_asked_is_forgotten() -> None:
    last = LastAnswers()
    last.merge({A_OF_X: Answer((ONE,), 5), AAAA_OF_X: Answer()})
    assert last.recall([A_OF_X], "why") is not None
    last.keep([AAAA_OF_X])
    assert last.recall([A_OF_X], "why") is None


def test_a_set_that_is_too_large_keeps_what_is_known() -> None:
    found = frozenset(Address(f"10.0.0.{i}", 1) for i in range(20))
    known = frozenset([Address("10.0.0.19", 1), Address("10.0.0.7", 1), Address("gone", 1)])
    cut = bounded(found, known, 5)
    assert len(cut) == 5
    assert cut >= known & found
    assert bounded(found, cut, 5) == cut
    assert bounded(found, known, 20) == found
