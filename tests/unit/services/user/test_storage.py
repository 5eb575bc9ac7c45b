import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError

from grpcmesh.auth import MAX_REVOCATIONS, Revocation, StaticKeys
from grpcmesh.config import ConfigError
from grpcmesh.errors import AlreadyExists, ResourceExhausted, Unauthenticated
from services.kit import audit_record
from services.kit.audit import AuditLog
from services.kit.audit_record import AuditRecord
from services.kit.db import Database
from services.kit.migrate import migrate
from services.kit.paging import Page
from services.user.attempts import SqlAttempts
from services.user.domain import Address, NewUser, Origin, Profile, Status
from services.user.logins import Lifetimes, Logins
from services.user.passwords import ScryptPasswords
from services.user.published import Published
from services.user.seed import FirstAdmin, Seeding
from services.user.session_storage import SqlRevocations, SqlSessions
from services.user.sessions import OVERLAP, digest_of
from services.user.storage import SqlUsers
from services.user.tables import login_failure, login_session, refresh_token, revocation
from services.user.throttle import FREE
from tests.databases import Maker
from tests.unit.services.user.memory import PlainIssuer


@pytest.fixture
def url(new_databases: Maker) -> str:
    return new_databases("user").url("user")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database.open(url, "user") as database:
        yield database


def person(name: str, email: str = "") -> NewUser:
    return NewUser(name, email or f"{name}@example.com", 33, ("user",), None)


def logins(db: Database) -> Logins:
    return Logins(
        SqlUsers(db),
        SqlSessions(db),
        SqlAttempts(db),
        ScryptPasswords(),
        PlainIssuer(),
        lambda: 1_000.0,
        Lifetimes(),
    )


async def test_the_seeded_people_log_in_with_their_documented_passwords(db: Database) -> None:
    expected = {"alice": (1, ("user", "admin")), "bob": (2, ("user",)), "charlie": (3, ("user", "moderator"))}
    for name, (user_id, roles) in expected.items():
        user, _ = await logins(db).login(f"{name}@example.com", f"{name}-password")
        assert (user.id, user.name, user.roles, user.status) == (user_id, name, roles, Status.ACTIVE)


def replica(url: str) -> AbstractAsyncContextManager[Database]:
    """Open the database as one of several replicas. On a busy machine they wait long for each other."""
    return Database.open(url, "user", lock_timeout=60)


async def test_failures_that_are_counted_at_once_are_all_counted(url: str) -> None:
    origin = Origin("192.0.2.1", "bob")
    async with replica(url) as one, replica(url) as two:
        await asyncio.gather(*(SqlAttempts(db).failed(origin, 1_000.0) for db in (one, two) * 10))
        counts = await one.read(lambda c: c.scalars(select(login_failure.c.count)).all())
    assert counts == [20, 20]


async def test_seeding_again_changes_nothing(db: Database, url: str) -> None:
    await SqlUsers(db).remove(2)
    await migrate(url, "user")
    assert [u.id for u in (await SqlUsers(db).page(Page())).items] == [1, 3]


async def test_a_user_comes_back_as_it_was_put(db: Database) -> None:
    users = SqlUsers(db, clock=lambda: 5_000.9)
    made = await users.add(person("Zoë"))
    assert await users.get(made.id) == made
    assert (made.id, made.age, made.created_at, made.roles) == (4, 33, 5_000, ("user",))
    renamed = await users.rename(made.id, "Zoe", "zoe@example.com")
    assert renamed == await users.get(made.id)
    assert await users.rename(99, "x", "x@y.zz") is None


async def test_names_and_emails_are_unique_without_regard_to_case(db: Database) -> None:
    users = SqlUsers(db)
    await users.add(person("Zoë"))
    with pytest.raises(AlreadyExists) as caught:
        await users.add(person("ZOË", "other@example.com"))
    assert caught.value.name == "ZOË"
    with pytest.raises(AlreadyExists) as caught:
        await users.add(person("other", "ZOË@EXAMPLE.COM"))
    assert caught.value.name == "ZOË@EXAMPLE.COM"
    with pytest.raises(AlreadyExists):
        await users.rename(2, "Alice", "bob@example.com")
    assert await users.rename(2, "BOB", "Bob@example.com")  # one's own, written differently


async def test_a_login_with_an_at_sign_is_an_email(db: Database) -> None:
    users = SqlUsers(db)
    for login in ("ALICE", "Alice@Example.com"):
        found = await users.find(login)
        assert found is not None
        assert found.user.id == 1
    assert await users.find("nobody") is None


async def test_a_deleted_user_leaves_nothing_and_its_id_is_not_given_again(db: Database, url: str) -> None:
    users = SqlUsers(db)
    made = await users.add(
        NewUser("zoe", "zoe@example.com", 33, ("user",), await ScryptPasswords().hash("12345678"))
    )
    await logins(db).login("zoe", "12345678")
    assert await users.remove(made.id)
    assert not await users.remove(made.id)
    assert await db.read(lambda c: c.scalar(select(func.count()).select_from(login_session))) == 0
    assert (await users.add(person("zoe"))).id == made.id + 1


async def test_pages_follow_each_other(db: Database) -> None:
    pages = [(await SqlUsers(db).page(Page(2, offset))).items for offset in (0, 2, 4)]
    assert [[u.id for u in page] for page in pages] == [[1, 2], [3], []]


async def test_a_refresh_token_sent_many_times_at_once_leads_to_the_same_at_every_replica(url: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(replica(url)) for _ in range(3)]
        _, tokens = await logins(replicas[0]).login("bob", "bob-password")
        for _ in range(3):  # a session outlives many renewals
            attempts = (logins(replicas[n % 3]).refresh(tokens.refresh) for n in range(12))
            results = await asyncio.gather(*attempts)
            assert len({r.refresh for r in results}) == 1
            tokens = results[0]
            await passed(replicas[0], OVERLAP)


async def test_a_renewal_whose_answer_was_lost_is_made_up_for_after_a_restart(url: str) -> None:
    async with Database.open(url, "user") as db:
        _, tokens = await logins(db).login("bob", "bob-password")
        lost = await logins(db).refresh(tokens.refresh)
    async with Database.open(url, "user") as db:
        assert (await logins(db).refresh(tokens.refresh)).refresh == lost.refresh
        await passed(db, OVERLAP)
        with pytest.raises(Unauthenticated):  # later it may be a thief's
            await logins(db).refresh(tokens.refresh)
        with pytest.raises(Unauthenticated):
            await logins(db).refresh(lost.refresh)
        assert await db.read(lambda c: c.scalar(select(func.count()).select_from(login_session))) == 0


async def test_a_token_from_before_families_were_chains_is_taken_over(db: Database) -> None:
    old = {"family": "ab" * 16, "user_id": 2, "expires_at": 2**40}
    spent, unspent = ({**old, "digest": digest_of(t), "spent": t == "s" * 43} for t in ("s" * 43, "u" * 43))
    await db.write(lambda c: c.execute(insert(refresh_token), [spent, unspent]))
    first, again = [await logins(db).refresh("u" * 43) for _ in range(2)]
    assert first.refresh == again.refresh
    assert (await logins(db).refresh(first.refresh)).refresh == first.refresh
    with pytest.raises(Unauthenticated):
        await logins(db).refresh("s" * 43)
    await logins(db).logout("u" * 43)
    with pytest.raises(Unauthenticated):
        await logins(db).refresh("u" * 43)


async def test_wrong_passwords_are_counted_for_all_replicas(url: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(Database.open(url, "user")) for _ in range(2)]
        for n in range(FREE):
            with pytest.raises(Unauthenticated):
                await logins(replicas[n % 2]).login("bob", "wrong", "192.0.2.1")
        for replica in replicas:
            with pytest.raises(ResourceExhausted):
                await logins(replica).login("bob", "bob-password", "192.0.2.1")
            await logins(replica).login("bob", "bob-password", "192.0.2.2")
        kept = await replicas[0].read(lambda c: c.execute(select(login_failure.c.key)).all())
        assert not any("bob" in key or "192" in key for (key,) in kept)


async def passed(db: Database, seconds: int) -> None:
    """As if that time had passed since every renewal."""
    earlier = update(login_session).values(rotated_at=login_session.c.rotated_at - seconds)
    await db.write(lambda c: c.execute(earlier))


async def test_of_many_users_all_are_kept_or_none(db: Database) -> None:
    users = SqlUsers(db)
    made = await users.add_all([person("zed"), person("yan")])
    assert [(u.id, u.name) for u in made] == [(4, "zed"), (5, "yan")]
    with pytest.raises(AlreadyExists) as caught:
        await users.add_all([person("new"), person("ZED", "z@example.com"), person("x", "BOB@example.com")])
    assert set(caught.value.name.split(", ")) == {"ZED", "BOB@example.com"}
    assert len((await users.page(Page())).items) == 5


async def test_of_two_batches_at_once_that_want_the_same_name_one_gets_it_and_the_other_nothing(
    db: Database,
) -> None:
    batches = [[person("new"), person(f"other {i}", f"o{i}@example.com")] for i in range(2)]
    results = await asyncio.gather(*(SqlUsers(db).add_all(b) for b in batches), return_exceptions=True)
    assert sorted(type(r).__name__ for r in results) == ["AlreadyExists", "list"]
    assert len((await SqlUsers(db).page(Page())).items) == 5


async def test_a_profile_is_kept_with_the_time_of_the_first(db: Database) -> None:
    first, later = (SqlUsers(db, lambda now=now: now) for now in (1_000.0, 2_000.0))  # type: ignore[misc]
    assert (await first.get(2)).profile is None  # type: ignore[union-attr]
    await first.set_profile(2, Profile(phone_numbers=("123",)))
    told = Profile(Address(city="Zürich"), ("1", "2"), {"ü": "ß"})
    changed = await later.set_profile(2, told)
    assert changed == await later.get(2)
    assert changed is not None
    assert changed.profile == replace(told, created_at=1_000)
    assert await later.set_profile(99, told) is None


@pytest.fixture
def empty(new_databases: Maker) -> str:
    return new_databases().url("user")


async def people(url: str) -> dict[str, tuple[str, ...]]:
    async with Database.open(url, "user") as db:
        return {u.name: u.roles for u in (await SqlUsers(db).page(Page())).items}


async def test_nobody_is_there_unless_asked_for(empty: str) -> None:
    await migrate(empty, "user", options={"seeding": Seeding.from_env({})})
    assert await people(empty) == {}
    await migrate(empty, "user", options={"seeding": Seeding.from_env({"MESHMART_DEMO_USERS": "true"})})
    assert (await people(empty)).keys() == {"alice", "bob", "charlie"}


async def test_the_first_admin_is_made_once_and_may_log_in(empty: str, tmp_path: Path) -> None:
    for part, text in {"name": "Root", "email": "root@example.com", "password": "a long one\n"}.items():
        (tmp_path / part).write_text(text)
    seeding = Seeding.from_env({"MESHMART_FIRST_ADMIN_DIR": str(tmp_path)})
    assert "a long one" not in repr(seeding)
    await asyncio.gather(*(migrate(empty, "user", options={"seeding": seeding}) for _ in range(2)))
    (tmp_path / "name").write_text("Second")
    again = Seeding.from_env({"MESHMART_FIRST_ADMIN_DIR": str(tmp_path)})
    await migrate(empty, "user", options={"seeding": again})
    assert await people(empty) == {"Root": ("user", "admin")}
    async with Database.open(empty, "user") as db:
        assert (await logins(db).login("root", "a long one"))[0].roles == ("user", "admin")


async def test_the_first_admin_comes_beside_the_demo_users(empty: str) -> None:
    seeding = Seeding(demo_users=True, first_admin=FirstAdmin("root", "root@example.com", "a long one"))
    for _ in range(2):
        await migrate(empty, "user", options={"seeding": seeding})
    assert (await people(empty)).keys() == {"alice", "bob", "charlie", "root"}


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"MESHMART_DEMO_USERS": "perhaps"}, "MESHMART_DEMO_USERS"),
        ({"MESHMART_FIRST_ADMIN_DIR": "/nowhere"}, "MESHMART_FIRST_ADMIN_DIR"),
    ],
)
def test_a_seeding_that_cannot_be_read_is_an_error(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Seeding.from_env(environ)


async def test_a_first_admin_with_a_short_password_is_refused(empty: str) -> None:
    seeding = Seeding(first_admin=FirstAdmin("root", "root@example.com", "short"))
    with pytest.raises(ConfigError, match="password"):
        await migrate(empty, "user", options={"seeding": seeding})


async def test_a_first_admin_whose_name_a_visitor_has_taken_is_an_error_and_not_forgotten(empty: str) -> None:
    await migrate(empty, "user", options={"seeding": Seeding()})
    async with Database.open(empty, "user") as db:
        await SqlUsers(db).add(person("root"))
    for admin in (
        FirstAdmin("ROOT", "other@example.com", "a long one"),
        FirstAdmin("other", "root@example.com", "a long one"),
    ):
        with pytest.raises(ConfigError, match="somebody has registered"):
            await migrate(empty, "user", options={"seeding": Seeding(first_admin=admin)})
    assert await people(empty) == {"root": ("user",)}


async def test_the_database_itself_keeps_the_audit_log_from_being_changed(db: Database) -> None:
    entry = AuditRecord(1000, 1, "client", "SetUserStatus", "user", "2").row("OK")
    await db.write(lambda c: c.execute(insert(audit_record.table).values(entry)))
    for change in (update(audit_record.table).values(actor=2), delete(audit_record.table)):
        with pytest.raises(DBAPIError, match="only grows"):
            await db.write(lambda c, change=change: c.execute(change))  # type: ignore[misc]
    assert [(e.actor_id, e.target) for e in await AuditLog(db).page(0, 10)] == [(1, "user 2")]


async def test_a_revocation_list_that_is_too_long_leaves_out_who_logged_out(db: Database) -> None:
    row = {"user_id": 0, "issued_until": 0, "expires_at": 2**40}
    rows = [{**row, "session": str(n)} for n in range(MAX_REVOCATIONS)]
    await db.write(lambda c: c.execute(insert(revocation), rows))
    await SqlSessions(db).at_once(lambda unit: unit.revoke_user(2, 1_000, 6_000))
    published = Published(StaticKeys({}), SqlRevocations(db), lambda: 5_000.0)
    await published.fetch()
    assert len(published.revocations) == MAX_REVOCATIONS
    assert Revocation(user_id=2, issued_until=1_000) in published.revocations


async def test_too_many_suspensions_revoke_every_token(db: Database) -> None:
    row = {"session": "", "issued_until": 0, "expires_at": 2**40}
    rows = [{**row, "user_id": n} for n in range(1, MAX_REVOCATIONS + 2)]
    await db.write(lambda c: c.execute(insert(revocation), rows))
    published = Published(StaticKeys({}), SqlRevocations(db), lambda: 5_000.0)
    await published.fetch()
    assert published.revocations == [Revocation(issued_until=5_000)]
