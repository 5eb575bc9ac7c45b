from typing import Any

import pytest
from ecommerce import user_pb2 as pb

from grpcmesh.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from services.kit.actor import Actor
from services.user.domain import Address, Profile, User
from services.user.users import Registration, Users
from tests.unit.services.user.memory import People, PlainPasswords

NOBODY, BOB = Actor(), Actor(2, frozenset({"user"}))
ADMIN = Actor(1, frozenset({"user", "admin"}))


@pytest.fixture
async def users() -> Users:
    users = Users(People(), PlainPasswords())
    await users.register(ADMIN, Registration("alice", "alice@example.com", roles=("user", "admin")))
    await users.register(NOBODY, Registration("bob", "bob@example.com", "bob-password"))
    return users


async def violations(attempt: Any) -> list[str]:
    with pytest.raises(InvalidArgument) as caught:
        await attempt
    return [v.field for v in caught.value.violations]


async def test_anybody_may_register_and_is_a_plain_user(users: Users) -> None:
    made = await users.register(
        NOBODY, Registration(" carol ", "carol@example.com", "carol-password", age=30)
    )
    assert (made.name, made.roles, made.age, made.is_active) == ("carol", ("user",), 30, True)


async def test_only_an_admin_gives_roles(users: Users) -> None:
    wish = Registration("carol", "carol@example.com", roles=("user", "admin"))
    for actor in (NOBODY, BOB):
        with pytest.raises(PermissionDenied):
            await users.register(actor, wish)
    assert (await users.register(ADMIN, wish)).roles == ("user", "admin")


async def test_a_user_acts_for_itself_and_an_admin_for_anyone(users: Users) -> None:
    assert (await users.get(BOB, 2)).name == (await users.get(ADMIN, 2)).name == "bob"
    assert (await users.rename(BOB, 2, "robert", "robert@example.com")).name == "robert"
    for attempt in (users.get(BOB, 1), users.rename(BOB, 1, "x", "x@y.zz"), users.delete(BOB, 1)):
        with pytest.raises(PermissionDenied):
            await attempt
    with pytest.raises(PermissionDenied):
        await users.get(BOB, 99)  # which tells nothing about who is there
    with pytest.raises(Unauthenticated):
        await users.get(NOBODY, 2)


async def test_only_an_admin_lists_users(users: Users) -> None:
    assert [u.id for u in (await users.page(ADMIN, pb.ListUsersRequest())).items] == [1, 2]
    with pytest.raises(PermissionDenied):
        await users.page(BOB, pb.ListUsersRequest())
    wrong = pb.ListUsersRequest(page=-1, page_size=-1, page_token="?")
    assert await violations(users.page(ADMIN, wrong)) == ["page", "page_size", "page", "page_token"]


async def test_a_user_that_was_deleted_is_gone(users: Users) -> None:
    await users.delete(BOB, 2)
    for attempt in (users.get(ADMIN, 2), users.delete(ADMIN, 2), users.rename(ADMIN, 2, "x", "x@y.zz")):
        with pytest.raises(NotFound):
            await attempt


async def test_a_name_that_is_taken_is_told(users: Users) -> None:
    with pytest.raises(AlreadyExists):
        await users.register(NOBODY, Registration("BOB", "other@example.com"))


@pytest.mark.parametrize(
    "email",
    [
        *(
            "",
            "x",
            "@",
            "a@",
            "@b.cc",
            "a@b",
            "a b@c.dd",
            "a@b..cc",
            "a@-b.cc",
            "a@b-.cc",
            "a@b.cc.",
            ".a@b.cc",
        ),
        *("a.@b.cc", "a..b@c.dd", "a@b@c.dd", "a@b.cc\n@d.ee", "a" * 65 + "@b.cc", "a@" + "b." * 130 + "cc"),
        *("<a@b.cc>", "a@b_c.dd,", "a@b.c\0c", "a@b.cc;d@e.ff"),
    ],
)
async def test_a_malformed_email_is_refused(users: Users, email: str) -> None:
    assert await violations(users.register(NOBODY, Registration("carol", email))) == ["email"]
    assert await violations(users.rename(BOB, 2, "bob", email)) == ["email"]


@pytest.mark.parametrize(
    "email",
    ["a@b.cc", "first.last+tag@sub.example.co.uk", "o'hara@example.com", "jürgen@müller.de", "1@2.34"],
)
async def test_an_email_that_people_have_is_taken(users: Users, email: str) -> None:
    assert (await users.register(NOBODY, Registration("carol", email))).email == email


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        (Registration(" ", "a@b.cc"), ["name"]),
        (Registration("n" * 201, "a@b.cc"), ["name"]),
        (Registration("bob@example.com", "a@b.cc"), ["name"]),
        (Registration("a\0", "a@b.cc"), ["name"]),
        (Registration("a", "a@b.cc", password="short"), ["password"]),
        (Registration("a", "a@b.cc", password="p" * 257), ["password"]),
        (Registration("a", "a@b.cc", age=-1), ["age"]),
        (Registration("a", "a@b.cc", age=151), ["age"]),
        (Registration("a", "a@b.cc", roles=("user", "king")), ["roles[1]"]),
        (Registration("a", "a@b.cc", roles=("user",) * 4), ["roles"]),
        (Registration("", "", password="x", age=-1), ["name", "email", "password", "age"]),
    ],
)
async def test_each_wrong_field_is_named(users: Users, said: Registration, fields: list[str]) -> None:
    assert await violations(users.register(ADMIN, said)) == fields


async def test_an_id_is_positive(users: Users) -> None:
    for attempt in (users.get(BOB, 0), users.delete(BOB, -1), users.rename(BOB, 0, "x", "x@y.zz")):
        assert await violations(attempt) == ["id"]


def test_a_registration_does_not_print_its_password() -> None:
    assert "secret" not in repr(Registration("a", "a@b.cc", password="secret"))


def test_a_user_holds_no_password() -> None:
    assert not any("password" in name for name in User.__slots__)


async def test_an_admin_registers_many_at_once_in_their_order(users: Users) -> None:
    batch = [
        Registration("dora", "dora@example.com", "dora-password"),
        Registration("carl", "carl@example.com", roles=["moderator"]),
    ]
    made = await users.register_all(ADMIN, batch)
    assert [(u.id, u.name, u.roles) for u in made] == [(3, "dora", ("user",)), (4, "carl", ("moderator",))]
    assert await users.register_all(ADMIN, []) == []
    with pytest.raises(PermissionDenied):
        await users.register_all(BOB, batch)


async def test_of_many_each_wrong_one_is_named_and_none_is_registered(users: Users) -> None:
    batch = [
        Registration("dora", "dora@example.com"),
        Registration("", "carl@"),
        Registration("DORA", "Dora@Example.com", "short"),
    ]
    assert await violations(users.register_all(ADMIN, batch)) == [
        "requests[1].name",
        "requests[1].email",
        "requests[2].password",
        "requests[2].name",
        "requests[2].email",
    ]
    assert len((await users.page(ADMIN, pb.ListUsersRequest())).items) == 2


async def test_a_user_tells_of_itself_what_fits(users: Users) -> None:
    said = await users.set_profile(BOB, 2, Address(city=" Berlin "), ["+49 30 123456"], {"size": "M"})
    assert said.profile == Profile(Address(city="Berlin"), ("+49 30 123456",), {"size": "M"})
    assert (await users.set_profile(ADMIN, 2, None, [], {})).profile == Profile()
    with pytest.raises(PermissionDenied):
        await users.set_profile(BOB, 1, None, [], {})
    with pytest.raises(NotFound):
        await users.set_profile(ADMIN, 99, None, [], {})


@pytest.mark.parametrize(
    ("address", "phones", "metadata", "fields"),
    [
        (Address(street="s" * 201, zip_code="\0"), [], {}, ["address.street", "address.zip_code"]),
        (None, ["123", "12", "call me", "+" + "1" * 16], {}, [f"phone_numbers[{i}]" for i in (1, 2, 3)]),
        (None, ["٠١٢٣٤"], {}, ["phone_numbers[0]"]),
        (None, ["12345"] * 6, {}, ["phone_numbers"]),
        (None, [], {" ": "v", "k" * 51: "v"}, ["metadata.key", "metadata.key"]),
        (None, [], {"k": "v" * 501}, ["metadata.value"]),
        (None, [], {str(n): "" for n in range(21)}, ["metadata"]),
    ],
)
async def test_what_does_not_fit_into_a_profile_is_named(
    users: Users, address: Address | None, phones: list[str], metadata: dict[str, str], fields: list[str]
) -> None:
    assert await violations(users.set_profile(BOB, 2, address, phones, metadata)) == fields
