from dataclasses import asdict, replace
from typing import Any

import pytest

from grpcmesh.errors import InvalidArgument, PermissionDenied, ResourceExhausted, Unauthenticated
from services.user.domain import NewUser
from services.user.logins import MAX_SESSIONS, Lifetimes, Logins
from services.user.sessions import OVERLAP, Ticket, digest_of
from services.user.throttle import FREE, FREE_OF_ADDRESS, WINDOW
from tests.unit.services.user.memory import Guesses, People, PlainIssuer, PlainPasswords


class World:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.people, self.passwords = People(), PlainPasswords()
        ports = self.people, self.people, Guesses(), self.passwords, PlainIssuer()
        self.logins = Logins(*ports, lambda: self.now, Lifetimes(60, 600))


@pytest.fixture
async def world() -> World:
    world = World()
    await world.people.add(NewUser("bob", "bob@example.com", 0, ("user",), "hashed bob-password"))
    await world.people.add(NewUser("mute", "mute@example.com", 0, ("user",), None))
    return world


@pytest.mark.parametrize("login", ["bob", "BOB", " bob@Example.com "])
async def test_a_user_logs_in_by_name_or_email(world: World, login: str) -> None:
    user, tokens = await world.logins.login(login, "bob-password")
    assert (user.id, tokens.access, tokens.expires_in) == (1, "1 bob user 60", 60)


@pytest.mark.parametrize(
    ("login", "password"),
    [("bob", "wrong"), ("nobody", "bob-password"), ("mute", "x"), ("bob", " bob-password")],
)
async def test_a_refusal_does_not_tell_what_was_wrong_and_costs_a_hash(
    world: World, login: str, password: str
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await world.logins.login(login, password)
    assert caught.value.message == "wrong login or password"
    assert len(world.passwords.verified) == 1


async def test_who_is_suspended_cannot_log_in_nor_stay(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    world.people.suspend(1)
    with pytest.raises(PermissionDenied):
        await world.logins.login("bob", "bob-password")
    with pytest.raises(Unauthenticated):
        await world.logins.login("bob", "wrong")
    with pytest.raises(Unauthenticated):
        await world.logins.refresh(tokens.refresh)
    assert not world.people.sessions


async def test_who_is_suspended_while_its_password_is_hashed_does_not_get_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify = world.passwords.verify

    async def slowly(*arguments: Any) -> bool:
        fits = await verify(*arguments)
        world.people.suspend(1)
        return fits

    monkeypatch.setattr(world.passwords, "verify", slowly)
    with pytest.raises(Unauthenticated):
        await world.logins.login("bob", "bob-password")
    assert not world.people.sessions


async def test_a_refresh_token_leads_on(world: World) -> None:
    _, first = await world.logins.login("bob", "bob-password")
    second = await world.logins.refresh(first.refresh)
    world.now += OVERLAP
    third = await world.logins.refresh(second.refresh)
    assert third.access == "1 bob user 60"
    assert len({first.refresh, second.refresh, third.refresh}) == 3


async def test_a_token_that_comes_again_within_the_overlap_leads_to_the_same(world: World) -> None:
    _, first = await world.logins.login("bob", "bob-password")
    second = await world.logins.refresh(first.refresh)
    world.now += OVERLAP - 1
    for token in (first, second, first):
        assert (await world.logins.refresh(token.refresh)).refresh == second.refresh


async def test_a_token_that_comes_again_later_ends_its_family_and_no_other(world: World) -> None:
    _, first = await world.logins.login("bob", "bob-password")
    _, elsewhere = await world.logins.login("bob", "bob-password")
    second = await world.logins.refresh(first.refresh)
    world.now += OVERLAP
    for token in (first, second):
        with pytest.raises(Unauthenticated):
            await world.logins.refresh(token.refresh)
    assert await world.logins.refresh(elsewhere.refresh)


async def test_a_guess_ends_no_family(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    ticket = Ticket.parse(tokens.refresh)
    assert ticket is not None
    for guess in (
        replace(ticket, secret="x" * 43),
        replace(ticket, number=7),
        replace(ticket, family="0" * 32),
    ):
        with pytest.raises(Unauthenticated):
            await world.logins.refresh(str(guess))
        await world.logins.logout(str(guess))
    assert await world.logins.refresh(tokens.refresh)


@pytest.mark.parametrize("step", [0, 1, 2])
async def test_logging_out_with_any_token_of_a_family_ends_it(world: World, step: int) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    _, elsewhere = await world.logins.login("bob", "bob-password")
    chain = [tokens.refresh]
    for _ in range(2):
        world.now += OVERLAP
        chain.append((await world.logins.refresh(chain[-1])).refresh)
    await world.logins.logout(chain[step])
    with pytest.raises(Unauthenticated):
        await world.logins.refresh(chain[-1])
    await world.logins.logout(chain[-1])  # again, without an error
    await world.logins.logout("never-was-one")
    assert await world.logins.refresh(elsewhere.refresh)


async def test_a_refresh_token_ends(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    world.now += 600
    with pytest.raises(Unauthenticated):
        await world.logins.refresh(tokens.refresh)
    await world.logins.login("bob", "bob-password")
    assert len(world.people.sessions) == 1  # what has ended is forgotten


async def test_the_oldest_of_many_log_ins_ends(world: World) -> None:
    _, oldest = await world.logins.login("bob", "bob-password")
    world.now += 1
    for _ in range(MAX_SESSIONS):
        await world.logins.login("bob", "bob-password")
    assert len(world.people.sessions) == MAX_SESSIONS
    with pytest.raises(Unauthenticated):
        await world.logins.refresh(oldest.refresh)


async def test_who_was_deleted_cannot_refresh(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    await world.people.remove(1)
    with pytest.raises(Unauthenticated):
        await world.logins.refresh(tokens.refresh)


async def test_no_secret_is_kept(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    secret = tokens.refresh.rpartition(".")[2]
    session = next(iter(world.people.sessions.values()))
    assert secret not in asdict(session).values()
    assert session.digest == digest_of(secret)


@pytest.mark.parametrize(
    ("login", "password", "fields"),
    [("", "x", ["login"]), ("bob", "", ["password"]), ("l" * 255, "p" * 1025, ["login", "password"])],
)
async def test_each_wrong_field_is_named(world: World, login: str, password: str, fields: list[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await world.logins.login(login, password)
    assert [v.field for v in caught.value.violations] == fields
    with pytest.raises(InvalidArgument):
        await world.logins.refresh("")


async def guess(world: World, times: int, address: str, login: str = "bob") -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            await world.logins.login(login, "wrong", address)


async def test_a_stranger_who_guesses_has_to_wait_and_the_owner_has_not(world: World) -> None:
    await guess(world, FREE, "stranger")
    with pytest.raises(ResourceExhausted) as caught:
        await world.logins.login("bob", "bob-password", "stranger")
    assert caught.value.retry_after == 30
    assert len(world.passwords.verified) == FREE  # what is refused costs no hash
    await world.logins.login("bob", "bob-password", "home")
    world.now += 30
    await guess(world, 1, "stranger")
    with pytest.raises(ResourceExhausted) as caught:
        await world.logins.login("BOB", "bob-password", "stranger")
    assert caught.value.retry_after == 60


async def test_the_wait_ends_and_success_forgets_the_failures(world: World) -> None:
    await guess(world, FREE - 1, "home")
    await world.logins.login("bob", "bob-password", "home")
    await guess(world, FREE, "home")
    world.now += WINDOW
    await world.logins.login("bob", "bob-password", "home")


async def test_one_password_on_many_accounts_is_counted_by_address(world: World) -> None:
    for n in range(FREE_OF_ADDRESS):
        await guess(world, 1, "stranger", f"user{n}")
    with pytest.raises(ResourceExhausted):
        await world.logins.login("another", "x", "stranger")
    await world.logins.login("bob", "bob-password", "home")
