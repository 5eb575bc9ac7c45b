"""Refresh tokens as chains, over months in virtual time: visitors of any habit stay, thieves are caught."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.user.sessions import (
    BEFORE_FIRST,
    MAX_STEPS,
    OVERLAP,
    LoginSession,
    Ticket,
    Verdict,
    after,
    digest_of,
    first,
    judge,
)

FAR = 10**10


class Family:
    """A session as a replica keeps it, and what any replica answers."""

    def __init__(self) -> None:
        self.session, self.ticket = first(1, FAR)
        self.ended = False

    def renew(self, ticket: Ticket, now: int) -> Ticket | None:
        """The answer to a token; None: log in again."""
        verdict, present = judge(None if self.ended else self.session, ticket, now)
        match verdict:
            case Verdict.ROTATE:
                following = after(present, self.session.key)
                self.session = moved(self.session, following, now)
                return following
            case Verdict.REPEAT:
                return present
            case Verdict.REUSED:
                self.ended = True
        return None


def moved(session: LoginSession, ticket: Ticket, now: int) -> LoginSession:
    return replace(session, number=ticket.number, digest=digest_of(ticket.secret), rotated_at=now)


def test_a_token_is_read_as_it_was_written() -> None:
    _, ticket = first(1, FAR)
    assert Ticket.parse(str(ticket)) == ticket
    assert ticket.secret not in repr(ticket)


@pytest.mark.parametrize(
    "text", ["", "a.0.b", "x" * 43, "0" * 32 + ".-1." + "x" * 43, "0" * 32 + ".٣." + "x" * 43]
)
def test_what_is_no_token_is_none(text: str) -> None:
    assert Ticket.parse(text) is None


@given(st.text(max_size=100))
def test_any_text_is_a_token_or_none(text: str) -> None:
    ticket = Ticket.parse(text)
    assert ticket is None or str(ticket) == text


def test_the_successor_needs_the_key_of_the_family() -> None:
    session, ticket = first(1, FAR)
    assert after(ticket, session.key) == after(ticket, session.key)
    assert after(ticket, session.key) != after(ticket, "0" * 64)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2 * OVERLAP), st.booleans()), max_size=60))
def test_a_browser_whatever_it_sends_at_once_or_loses_stays_logged_in(
    steps: list[tuple[int, int, bool]],
) -> None:
    """Each step: so many requests at once with the cookie, time that passes before, whether answers are lost.

    An answer that was lost is asked for again within the overlap, as a browser's next request does.
    """
    family, now = Family(), 1000
    cookie = family.ticket
    for at_once, pause, lost in steps:
        now += pause
        answers = [family.renew(cookie, now) for _ in range(at_once)]
        assert all(answer is not None for answer in answers)
        assert len(set(answers)) <= 1
        if answers and lost:
            now += OVERLAP - 1
            answers = [family.renew(cookie, now)]
        if answers and answers[-1] is not None:
            cookie = answers[-1]
    assert not family.ended


@given(st.integers(0, 10), st.integers(0, 10), st.integers(OVERLAP, 10_000))
def test_a_stolen_token_that_was_used_ends_the_family_when_the_second_of_the_two_comes(
    before: int, by_thief: int, pause: int
) -> None:
    family, now = Family(), 1000
    cookie = family.ticket
    for _ in range(before):
        now += OVERLAP
        cookie = family.renew(cookie, now) or cookie
    stolen = cookie
    for _ in range(by_thief + 1):
        now += OVERLAP
        found = family.renew(stolen, now)
        assert found is not None
        stolen = found
    assert family.renew(cookie, now + pause) is None  # the owner comes, and is told to log in
    assert family.renew(stolen, now + pause) is None  # and the thief has nothing any more
    assert family.ended


@given(st.integers(1, 20), st.integers(0, 19))
def test_an_old_token_ends_the_family_however_old_it_is(rotations: int, old: int) -> None:
    family, now = Family(), 1000
    chain = [family.ticket]
    for _ in range(rotations):
        now += OVERLAP
        chain.append(family.renew(chain[-1], now) or chain[-1])
    assert family.renew(chain[min(old, rotations - 1)], now + OVERLAP) is None
    assert family.ended


def test_what_was_never_good_ends_nothing() -> None:
    family = Family()
    guess = replace(family.ticket, secret="x" * 43)
    for number in (0, 1, 5, MAX_STEPS + 1):
        assert judge(family.session, replace(guess, number=number), 1000)[0] is Verdict.UNKNOWN
    assert judge(None, family.ticket, 1000)[0] is Verdict.UNKNOWN
    assert judge(family.session, family.ticket, FAR)[0] is Verdict.UNKNOWN


def test_a_token_from_before_families_were_chains_leads_to_the_first() -> None:
    secret = "y" * 43
    session = LoginSession("0" * 32, 1, "ab" * 32, BEFORE_FIRST, digest_of(secret), 0, FAR)
    old = Ticket("0" * 32, BEFORE_FIRST, secret)
    verdict, present = judge(session, old, 1000)
    assert verdict is Verdict.ROTATE
    following = after(present, session.key)
    assert following.number == 0
    assert judge(moved(session, following, 1000), old, 1001) == (Verdict.REPEAT, following)
