import pytest

from grpcmesh.errors import InvalidArgument, PermissionDenied, Unauthenticated
from services.user.domain import NewUser
from services.user.logins import Lifetimes, Logins, digest_of
from tests.unit.services.user.memory import People, PlainIssuer, PlainPasswords


class World:
    def __init__(self) -> None:
        self.now = 1_000.0
        self.people, self.passwords = People(), PlainPasswords()
        self.logins = Logins(
            self.people, self.people, self.passwords, PlainIssuer(), lambda: self.now, Lifetimes(60, 600)
        )


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
    assert not world.people.tokens


async def test_a_refresh_token_is_good_once_and_leads_on(world: World) -> None:
    _, first = await world.logins.login("bob", "bob-password")
    second = await world.logins.refresh(first.refresh)
    third = await world.logins.refresh(second.refresh)
    assert third.access == "1 bob user 60"
    assert len({first.refresh, second.refresh, third.refresh}) == 3


async def test_a_spent_token_that_comes_again_ends_its_family_and_no_other(world: World) -> None:
    _, first = await world.logins.login("bob", "bob-password")
    _, elsewhere = await world.logins.login("bob", "bob-password")
    second = await world.logins.refresh(first.refresh)
    for token in (first, second):
        with pytest.raises(Unauthenticated):
            await world.logins.refresh(token.refresh)
    assert await world.logins.refresh(elsewhere.refresh)


async def test_a_refresh_token_ends(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    world.now += 600
    with pytest.raises(Unauthenticated):
        await world.logins.refresh(tokens.refresh)
    await world.logins.login("bob", "bob-password")
    assert len(world.people.tokens) == 1  # what has ended is forgotten


async def test_who_was_deleted_cannot_refresh(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    await world.people.remove(1)
    with pytest.raises(Unauthenticated):
        await world.logins.refresh(tokens.refresh)


async def test_no_secret_is_kept(world: World) -> None:
    _, tokens = await world.logins.login("bob", "bob-password")
    assert tokens.refresh not in repr(world.people.tokens)
    assert digest_of(tokens.refresh) in world.people.tokens


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
