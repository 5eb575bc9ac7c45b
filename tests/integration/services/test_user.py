import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ecommerce import common_pb2
from ecommerce import user_pb2 as pb
from ecommerce.user_pb2_grpc import UserServiceStub, add_UserServiceServicer_to_server
from google.protobuf.empty_pb2 import Empty
from hypothesis import strategies as st
from sqlalchemy import select

from grpcmesh.auth import TokenVerifier
from grpcmesh.config import AuthConfig
from grpcmesh.errors import Unauthenticated
from services.kit.audit import AuditLog, audited
from services.kit.db import Database
from services.kit.outbox import SqlQueue
from services.kit.relay import Outcome
from services.kit.tokens import UserKeys
from services.user.accounts import Accounts
from services.user.acts import ACTS
from services.user.attempts import SqlAttempts
from services.user.domain import User
from services.user.exchanges import Exchanges
from services.user.keys import SigningKeys
from services.user.logins import Lifetimes, Logins
from services.user.news import AGAIN_AFTER, FORGETTERS, RECOVERY
from services.user.passwords import Cost, ScryptPasswords
from services.user.published import Published
from services.user.recovery import MAX_LETTERS, Recovery
from services.user.servicer import UserServicer
from services.user.session_storage import SqlRevocations, SqlSessions
from services.user.sessions import OVERLAP, digest_of
from services.user.storage import SqlUsers
from services.user.tables import recovery
from services.user.throttle import FREE
from services.user.users import Users
from tests.databases import Databases, Maker

from .shopkit import ADMIN, BOB, NOBODY, answers_whatever_it_is_asked, refused, requests, serving

Code = grpc.StatusCode
CONFIG = AuthConfig()


@dataclass
class Running:
    user: Any = None
    channel: Any = None
    now: float = 1_000.0
    recovery: Any = None
    db: Any = None


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases("user")


@pytest.fixture
async def running(tmp_path: Path, databases: Databases) -> AsyncIterator[Running]:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "k1.pem").write_bytes(pem)
    running = Running()
    keys = SigningKeys(tmp_path, CONFIG, lambda: 0.0, lambda: running.now)
    keys.load()
    async with Database.open(databases.url("user"), "user") as db:
        users, passwords = SqlUsers(db), ScryptPasswords(Cost(log2_n=4))
        logins = Logins(
            users, SqlSessions(db), SqlAttempts(db), passwords, keys, lambda: running.now, Lifetimes()
        )
        accounts = Accounts(users, SqlSessions(db), passwords, logins, lambda: running.now, Lifetimes())
        recovering = Recovery(users, SqlSessions(db), SqlAttempts(db), accounts, lambda: running.now)
        published = Published(keys, SqlRevocations(db), lambda: running.now)
        servicer = UserServicer(
            Users(users, passwords),
            logins,
            accounts,
            recovering,
            Exchanges(keys, lambda: running.now),
            published,
            CONFIG.issuer,
        )
        audited(servicer, AuditLog(db, lambda: running.now), ACTS)
        async with serving(add_UserServiceServicer_to_server, servicer) as channel:
            running.user, running.channel = UserServiceStub(channel), channel
            running.recovery, running.db = recovering, db
            yield running


@pytest.fixture
def user(running: Running) -> Any:
    return running.user


def _create(name: str, **kwargs: Any) -> pb.CreateUserRequest:
    return pb.CreateUserRequest(**{"name": name, "email": f"{name}@example.com", **kwargs})


async def test_another_service_verifies_what_login_issued(running: Running) -> None:
    response = await running.user.Login(pb.LoginRequest(login="alice", password="alice-password"))
    verifier = TokenVerifier(CONFIG, UserKeys(running.channel), lambda: running.now)
    assert await verifier.refresh()
    principal = verifier.verify(response.access_token)
    assert (principal.user_id, principal.roles) == (1, frozenset({"user", "admin"}))
    assert (response.user.name, response.expires_in) == ("alice", 900)


async def test_the_published_keys_name_their_issuer(user: Any) -> None:
    response = await user.GetVerificationKeys(Empty())
    assert response.issuer == CONFIG.issuer
    assert [k.kid for k in response.keys] == ["k1"]
    assert '"d"' not in response.keys[0].jwk  # the private half


async def test_a_refresh_token_is_rotated_and_its_reuse_ends_the_family(running: Running) -> None:
    user = running.user
    login = await user.Login(pb.LoginRequest(login="bob@example.com", password="bob-password"))
    first = pb.RefreshTokenRequest(refresh_token=login.refresh_token)
    second = pb.RefreshTokenRequest(refresh_token=(await user.RefreshToken(first)).refresh_token)
    assert (await user.RefreshToken(first)).refresh_token == second.refresh_token  # in the overlap
    running.now += OVERLAP
    for spent in (first, second):
        assert (await refused(user.RefreshToken(spent))).code == Code.UNAUTHENTICATED


async def test_after_a_log_out_no_refresh_token_is_good_any_more(user: Any) -> None:
    login = await user.Login(pb.LoginRequest(login="bob", password="bob-password"))
    renewed = await user.RefreshToken(pb.RefreshTokenRequest(refresh_token=login.refresh_token))
    for _ in range(2):  # again, without an error
        await user.Logout(pb.LogoutRequest(refresh_token=login.refresh_token))
    for token in (login.refresh_token, renewed.refresh_token):
        request = pb.RefreshTokenRequest(refresh_token=token)
        assert (await refused(user.RefreshToken(request))).code == Code.UNAUTHENTICATED


async def test_a_wrong_login_and_a_wrong_password_look_the_same(user: Any) -> None:
    refusals = [
        await refused(user.Login(pb.LoginRequest(login=login, password="wrong-password")))
        for login in ("bob", "nobody")
    ]
    assert refusals[0] == refusals[1]
    assert refusals[0].code == Code.UNAUTHENTICATED


async def test_only_the_storefront_speaks_for_other_addresses(user: Any) -> None:
    storefront = (("x-workload", "storefront"),)
    for n in range(FREE):
        # The same address for all of them, whatever the caller says.
        request = pb.LoginRequest(login="bob", password="wrong-password", client_address=f"192.0.2.{n}")
        assert (await refused(user.Login(request, metadata=NOBODY))).code == Code.UNAUTHENTICATED
    good = pb.LoginRequest(login="bob", password="bob-password", client_address="192.0.2.99")
    assert (await refused(user.Login(good, metadata=NOBODY))).code == Code.RESOURCE_EXHAUSTED
    assert (await user.Login(good, metadata=storefront)).access_token


async def test_a_person_registers_logs_in_changes_and_leaves(user: Any) -> None:
    request = _create("zoë", email="zoe@example.com", password="zoë-password", age=40)
    made = (await user.CreateUser(request, metadata=NOBODY)).user
    assert (made.name, made.age, list(made.roles), made.status) == (
        "zoë",
        40,
        ["user"],
        pb.USER_STATUS_ACTIVE,
    )
    me = (("x-user", str(made.id)), ("x-roles", "user"))
    login = await user.Login(pb.LoginRequest(login="ZOË", password="zoë-password"))
    assert login.user == made
    update = pb.UpdateUserRequest(id=made.id, name="Zoe", email="z@example.com")
    changed = (await user.UpdateUser(update, metadata=me)).user
    assert changed == (await user.GetUser(pb.GetUserRequest(id=made.id), metadata=me)).user
    assert (await user.DeleteUser(pb.DeleteUserRequest(id=made.id), metadata=me)).success
    gone = await refused(user.GetUser(pb.GetUserRequest(id=made.id), metadata=me))
    assert (gone.code, gone.resource) == (Code.NOT_FOUND, ("user", str(made.id)))


async def test_the_operator_makes_an_admin(user: Any) -> None:
    request = _create("root", password="root-password", roles=["moderator"])
    made = (await user.CreateAdmin(request, metadata=NOBODY)).user
    assert list(made.roles) == ["user", "admin"]
    assert (await user.Login(pb.LoginRequest(login="root", password="root-password"))).user == made
    refusal = await refused(user.CreateAdmin(_create("again"), metadata=NOBODY))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"password"})


async def test_what_is_taken_is_named(user: Any) -> None:
    taken = await refused(user.CreateUser(_create("BOB", email="b@example.com"), metadata=NOBODY))
    assert (taken.code, taken.resource) == (Code.ALREADY_EXISTS, ("user", "BOB"))
    update = pb.UpdateUserRequest(id=2, name="bob", email="ALICE@example.com")
    taken = await refused(user.UpdateUser(update, metadata=BOB))
    assert (taken.code, taken.resource) == (Code.ALREADY_EXISTS, ("user", "ALICE@example.com"))


async def verified(running: Running) -> TokenVerifier:
    verifier = TokenVerifier(CONFIG, UserKeys(running.channel), lambda: running.now)
    assert await verifier.refresh()
    return verifier


async def test_a_suspension_is_everywhere_with_the_next_fetch_of_the_keys(running: Running) -> None:
    user, verifier = running.user, await verified(running)
    login = await user.Login(pb.LoginRequest(login="bob", password="bob-password"))
    assert verifier.verify(login.access_token).user_id == 2
    suspend = pb.SetUserStatusRequest(id=2, status=pb.USER_STATUS_SUSPENDED, reason="fraud")
    assert (await user.SetUserStatus(suspend, metadata=ADMIN)).user.status == pb.USER_STATUS_SUSPENDED
    await verifier.refresh()
    with pytest.raises(Unauthenticated, match="revoked"):
        verifier.verify(login.access_token)
    refresh = pb.RefreshTokenRequest(refresh_token=login.refresh_token)
    assert (await refused(user.RefreshToken(refresh))).code == Code.UNAUTHENTICATED
    again = pb.LoginRequest(login="bob", password="bob-password")
    assert (await refused(user.Login(again))).code == Code.PERMISSION_DENIED
    running.now += 1
    activate = pb.SetUserStatusRequest(id=2, status=pb.USER_STATUS_ACTIVE)
    await user.SetUserStatus(activate, metadata=ADMIN)
    await verifier.refresh()
    assert verifier.verify((await user.Login(again)).access_token).user_id == 2
    running.now += 3600
    published = await user.GetVerificationKeys(Empty())
    assert not published.revocations  # bounded: what has ended by itself is not listed


async def test_logging_out_ends_access_tokens_too(running: Running) -> None:
    user, verifier = running.user, await verified(running)
    login, elsewhere = [
        await user.Login(pb.LoginRequest(login="bob", password="bob-password")) for _ in range(2)
    ]
    await user.Logout(pb.LogoutRequest(refresh_token=login.refresh_token))
    await verifier.refresh()
    with pytest.raises(Unauthenticated, match="revoked"):
        verifier.verify(login.access_token)
    assert verifier.verify(elsewhere.access_token)


async def test_who_changes_the_password_ends_all_log_ins(running: Running) -> None:
    user = running.user
    login = await user.Login(pb.LoginRequest(login="bob", password="bob-password"))
    wrong = pb.ChangePasswordRequest(current_password="not-it", new_password="something else")
    refusal = await refused(user.ChangePassword(wrong, metadata=BOB))
    assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "WRONG_PASSWORD")
    right = pb.ChangePasswordRequest(current_password="bob-password", new_password="something else")
    changed = await user.ChangePassword(right, metadata=BOB)
    again = pb.RefreshTokenRequest(refresh_token=changed.refresh_token)
    assert (await user.RefreshToken(again)).access_token  # the one who changed it stays
    refresh = pb.RefreshTokenRequest(refresh_token=login.refresh_token)
    assert (await refused(user.RefreshToken(refresh))).code == Code.UNAUTHENTICATED
    old = pb.LoginRequest(login="bob", password="bob-password")
    assert (await refused(user.Login(old))).code == Code.UNAUTHENTICATED
    assert await user.Login(pb.LoginRequest(login="bob", password="something else"))


async def log(user: Any, metadata: Any = ADMIN, **request: Any) -> list[Any]:
    listed = user.ListAuditLog(common_pb2.ListAuditLogRequest(**request), metadata=metadata)
    return [entry async for entry in listed]


async def test_what_admins_did_is_in_the_log_with_its_outcome(running: Running) -> None:
    user = running.user
    await user.CreateAdmin(_create("root", password="root-password"), metadata=NOBODY)
    made = (await user.CreateUser(_create("mod", roles=["moderator"]), metadata=ADMIN)).user
    await user.CreateUser(_create("self"), metadata=BOB)  # no admin's doing
    suspend = pb.SetUserStatusRequest(login="mod", status=pb.USER_STATUS_SUSPENDED, reason="spam")
    await user.SetUserStatus(suspend, metadata=NOBODY)  # the operator: see `shopkit.NOBODY`
    suspend = pb.SetUserStatusRequest(id=99, status=pb.USER_STATUS_SUSPENDED)
    await refused(user.SetUserStatus(suspend, metadata=ADMIN))
    await user.SetUserRoles(pb.SetUserRolesRequest(id=made.id, roles=["user"]), metadata=ADMIN)
    await user.DeleteUser(pb.DeleteUserRequest(id=made.id), metadata=ADMIN)
    listed = await log(user)
    assert [(e.actor_id, e.action, e.target, e.detail, e.outcome) for e in listed] == [
        (1, "DeleteUser", f"user {made.id}", "", "OK"),
        (1, "SetUserRoles", f"user {made.id}", "user", "OK"),
        (1, "SetUserStatus", "user 99", "SUSPENDED", "NOT_FOUND"),
        (0, "SetUserStatus", f"user {made.id}", "SUSPENDED: spam", "OK"),
        (1, "CreateUser", f"user {made.id}", "moderator", "OK"),
        (0, "CreateAdmin", "user 4", "", "OK"),
    ]
    assert {e.workload for e in listed} == {"client"}
    assert [e.at.seconds for e in listed] == [1_000] * 6
    older = await log(user, before=listed[1].id, page_size=1)
    assert [e.outcome for e in older] == ["NOT_FOUND"]
    assert len(await log(user, NOBODY)) == 6
    assert (await refused(log(user, BOB))).code == Code.PERMISSION_DENIED


async def test_other_roles_end_the_tokens_that_tell_the_old_ones(running: Running) -> None:
    user, verifier = running.user, await verified(running)
    login = await user.Login(pb.LoginRequest(login="bob", password="bob-password"))
    roles = pb.SetUserRolesRequest(login="BOB", roles=["user", "moderator"])
    assert list((await user.SetUserRoles(roles, metadata=ADMIN)).user.roles) == ["user", "moderator"]
    await verifier.refresh()
    with pytest.raises(Unauthenticated, match="revoked"):
        verifier.verify(login.access_token)
    running.now += 1
    login = await user.Login(pb.LoginRequest(login="bob", password="bob-password"))
    assert verifier.verify(login.access_token).roles == {"user", "moderator"}
    assert (await refused(user.SetUserRoles(roles, metadata=BOB))).code == Code.PERMISSION_DENIED


class Box:
    """The port `Post`: whoever reads the letters, and what is in them."""

    def __init__(self) -> None:
        self.codes: list[tuple[str, str]] = []

    async def send_code(self, to: User, code: str) -> None:
        self.codes.append((to.email, code))


async def letters(running: Running) -> Box:
    """Delivers what the outbox holds."""
    box = Box()
    for found in await SqlQueue(running.db).take(RECOVERY, running.now + 1, running.now + 9, 100):
        for event in found:
            await running.recovery.send(event.payload["user_id"], box)
            await SqlQueue(running.db).settle(Outcome(delivered=[event]))
    return box


async def test_a_forgotten_password_is_replaced_by_a_code_that_is_good_once(running: Running) -> None:
    user = running.user
    login = await user.Login(pb.LoginRequest(login="bob", password="bob-password"))
    await user.RequestPasswordReset(pb.RequestPasswordResetRequest(login="BOB"), metadata=NOBODY)
    ((to, code),) = (await letters(running)).codes
    assert to == "bob@example.com"
    stored = await running.db.read(lambda c: c.scalars(select(recovery.c.digest)).all())
    assert code not in stored
    assert digest_of(code) in stored
    reset = pb.ResetPasswordRequest(code=code, new_password="brand new one")
    await user.ResetPassword(reset, metadata=NOBODY)
    refresh = pb.RefreshTokenRequest(refresh_token=login.refresh_token)
    assert (await refused(user.RefreshToken(refresh))).code == Code.UNAUTHENTICATED
    old = pb.LoginRequest(login="bob", password="bob-password")
    assert (await refused(user.Login(old))).code == Code.UNAUTHENTICATED
    assert await user.Login(pb.LoginRequest(login="bob", password="brand new one"))
    again = await refused(user.ResetPassword(reset, metadata=NOBODY))
    assert (again.code, again.reason) == (Code.FAILED_PRECONDITION, "RESET_CODE")


async def test_a_code_is_good_for_half_an_hour(running: Running) -> None:
    user = running.user
    await user.RequestPasswordReset(pb.RequestPasswordResetRequest(login="bob"), metadata=NOBODY)
    ((_, code),) = (await letters(running)).codes
    running.now += 1800
    reset = pb.ResetPasswordRequest(code=code, new_password="brand new one")
    assert (await refused(user.ResetPassword(reset))).reason == "RESET_CODE"
    reset.code = "guessed"
    assert (await refused(user.ResetPassword(reset))).reason == "RESET_CODE"


async def test_nobody_learns_who_has_an_account_and_nobody_is_flooded_with_letters(running: Running) -> None:
    user = running.user
    await user.SetUserStatus(pb.SetUserStatusRequest(id=3, status=pb.USER_STATUS_SUSPENDED), metadata=ADMIN)
    storefront = (("x-workload", "storefront"),)
    answers = set()
    for n in range(4):
        for login in ("bob@example.com", "nobody@example.com", "charlie"):
            request = pb.RequestPasswordResetRequest(login=login, client_address=f"192.0.2.{n}")
            answers.add(str(await user.RequestPasswordReset(request, metadata=storefront)))
    assert answers == {""}
    codes = (await letters(running)).codes
    assert [to for to, _ in codes] == ["bob@example.com"] * MAX_LETTERS
    for _ in range(FREE):
        request = pb.RequestPasswordResetRequest(login="x", client_address="192.0.2.9")
        await user.RequestPasswordReset(request, metadata=storefront)
    refusal = await refused(user.RequestPasswordReset(request, metadata=storefront))
    assert refusal.code == Code.RESOURCE_EXHAUSTED


async def test_who_leaves_is_forgotten_everywhere_and_its_email_is_free(running: Running) -> None:
    user, verifier = running.user, await verified(running)
    login = await user.Login(pb.LoginRequest(login="bob", password="bob-password"))
    wrong = pb.DeleteUserRequest(id=2, current_password="not-it")
    assert (await refused(user.DeleteUser(wrong, metadata=BOB))).reason == "WRONG_PASSWORD"
    right = pb.DeleteUserRequest(id=2, current_password="bob-password")
    await user.DeleteUser(right, metadata=BOB)
    await verifier.refresh()
    with pytest.raises(Unauthenticated, match="revoked"):
        verifier.verify(login.access_token)
    queue = SqlQueue(running.db)
    for topic in FORGETTERS:
        for after in (1, AGAIN_AFTER + 1):  # again, when the last token has ended
            (events,) = await queue.take(topic, time.time() + after, time.time() + 2 * after, 10)
            assert [event.payload for event in events] == [{"user_id": 2}]
            await queue.settle(Outcome(delivered=list(events)))
    again = await user.CreateUser(_create("bob"), metadata=NOBODY)
    assert again.user.id != 2


async def test_an_admin_does_not_lock_out_itself(user: Any) -> None:
    suspend = pb.SetUserStatusRequest(id=1, status=pb.USER_STATUS_SUSPENDED)
    refusal = await refused(user.SetUserStatus(suspend, metadata=ADMIN))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "OWN_ACCOUNT")
    assert (await refused(user.SetUserStatus(suspend, metadata=BOB))).code == Code.PERMISSION_DENIED
    nobody = pb.SetUserStatusRequest(id=99, status=pb.USER_STATUS_SUSPENDED)
    assert (await refused(user.SetUserStatus(nobody, metadata=ADMIN))).code == Code.NOT_FOUND


async def test_a_user_acts_for_itself_only(user: Any) -> None:
    for call in (
        user.GetUser(pb.GetUserRequest(id=1), metadata=BOB),
        user.UpdateUser(pb.UpdateUserRequest(id=1, name="x", email="x@y.zz"), metadata=BOB),
        user.DeleteUser(pb.DeleteUserRequest(id=1), metadata=BOB),
        user.ListUsers(pb.ListUsersRequest(), metadata=BOB),
        user.CreateUser(_create("x", roles=["admin"]), metadata=BOB),
        user.CreateUser(_create("x", roles=["moderator"]), metadata=NOBODY),
    ):
        refusal = await refused(call)
        assert refusal.code == Code.PERMISSION_DENIED
        assert refusal.reason
    assert (await refused(user.GetUser(pb.GetUserRequest(id=2)))).code == Code.UNAUTHENTICATED


async def test_an_admin_acts_for_anyone(user: Any) -> None:
    assert (await user.GetUser(pb.GetUserRequest(id=2), metadata=ADMIN)).user.name == "bob"
    listed = [u.name async for u in user.ListUsers(pb.ListUsersRequest(page_size=2), metadata=ADMIN)]
    assert listed == ["alice", "bob"]
    made = (await user.CreateUser(_create("mod", roles=["user", "moderator"]), metadata=ADMIN)).user
    assert list(made.roles) == ["user", "moderator"]


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("GetUser", pb.GetUserRequest(), {"id"}),
        ("CreateUser", pb.CreateUserRequest(), {"name", "email"}),
        ("CreateUser", _create("a", email="not-an-email", password="short"), {"email", "password"}),
        ("CreateUser", _create("a", age=-1, roles=["king"]), {"age", "roles[0]"}),
        ("CreateUser", _create("a\0", email="a@b.cc"), {"name"}),
        ("UpdateUser", pb.UpdateUserRequest(id=-1, name=" ", email="@"), {"id", "name", "email"}),
        ("DeleteUser", pb.DeleteUserRequest(), {"id"}),
        (
            "UpdateProfile",
            pb.UpdateProfileRequest(phone_numbers=["1"], metadata={"": "v" * 501}),
            {"id", "phone_numbers[0]", "metadata.key", "metadata.value"},
        ),
        ("ListUsers", pb.ListUsersRequest(page=-1, page_size=-1), {"page", "page_size"}),
        ("Login", pb.LoginRequest(), {"login", "password"}),
        ("RefreshToken", pb.RefreshTokenRequest(), {"refresh_token"}),
        ("SetUserStatus", pb.SetUserStatusRequest(reason="\0"), {"id", "status", "reason"}),
        ("ChangePassword", pb.ChangePasswordRequest(), {"new_password"}),
        ("SetUserRoles", pb.SetUserRolesRequest(roles=["king"]), {"id", "roles[0]"}),
        ("RequestPasswordReset", pb.RequestPasswordResetRequest(), {"login"}),
        ("ResetPassword", pb.ResetPasswordRequest(new_password="short"), {"code", "new_password"}),
        ("ListAuditLog", common_pb2.ListAuditLogRequest(before=-1, page_size=-1), {"before", "page_size"}),
        ("Logout", pb.LogoutRequest(refresh_token="x" * 1025), {"refresh_token"}),
    ],
)
async def test_each_wrong_field_is_named(user: Any, method: str, request_: Any, fields: set[str]) -> None:
    refusal = await refused(getattr(user, method)(request_, metadata=ADMIN))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)


async def test_an_admin_registers_many_at_once(user: Any) -> None:
    wanted = [_create(f"n{i}", age=i, roles=["user", "moderator"]) for i in range(99)]
    wanted.append(_create("last", password="last-password"))
    made = await user.BatchCreateUsers(iter(wanted), metadata=ADMIN)
    assert made.count == 100
    assert [u.name for u in made.users] == [w.name for w in wanted]
    assert list(made.users[0].roles) == ["user", "moderator"]
    login = await user.Login(pb.LoginRequest(login="last", password="last-password"))
    assert login.user == made.users[-1]
    assert (await user.BatchCreateUsers(iter(()), metadata=ADMIN)).count == 0


async def test_of_many_all_are_registered_or_none(user: Any) -> None:
    wrong = [_create("new"), _create("", email="x"), _create("New", password="short")]
    refusal = await refused(user.BatchCreateUsers(iter(wrong), metadata=ADMIN))
    assert refusal.code == Code.INVALID_ARGUMENT
    assert refusal.fields == {
        "requests[1].name",
        "requests[1].email",
        "requests[2].name",
        "requests[2].email",
        "requests[2].password",
    }
    taken = await refused(user.BatchCreateUsers(iter([_create("new"), _create("BOB")]), metadata=ADMIN))
    assert (taken.code, taken.resource) == (Code.ALREADY_EXISTS, ("user", "BOB, BOB@example.com"))
    many = await refused(user.BatchCreateUsers(iter([_create("new")] * 101), metadata=ADMIN))
    assert (many.code, many.fields) == (Code.INVALID_ARGUMENT, {"requests"})
    for who, code in ((BOB, Code.PERMISSION_DENIED), (NOBODY, Code.UNAUTHENTICATED)):
        assert (await refused(user.BatchCreateUsers(iter([_create("new")]), metadata=who))).code == code
    assert [u.name async for u in user.ListUsers(pb.ListUsersRequest(), metadata=ADMIN)] == [
        "alice",
        "bob",
        "charlie",
    ]


async def test_a_profile_is_what_the_user_said_last(user: Any) -> None:
    address = common_pb2.Address(street="Weg 1", city="Köln", country="DE")
    request = pb.UpdateProfileRequest(
        id=2, address=address, phone_numbers=["+49 221 1234"], metadata={"size": "M"}
    )
    told = (await user.UpdateProfile(request, metadata=BOB)).user
    profile = told.profile
    assert (profile.id, profile.name, profile.email, profile.address) == (
        2,
        "bob",
        "bob@example.com",
        address,
    )
    assert (list(profile.phone_numbers), dict(profile.metadata)) == (["+49 221 1234"], {"size": "M"})
    assert profile.created_at.seconds > 0
    assert (await user.GetUser(pb.GetUserRequest(id=2), metadata=BOB)).user == told
    # A client that knows only the contract renames, and leaves the profile alone.
    rename = pb.UpdateUserRequest(id=2, name="robert", email="r@example.com")
    renamed = (await user.UpdateUser(rename, metadata=BOB)).user
    assert (renamed.profile.name, renamed.profile.address) == ("robert", address)
    emptied = (await user.UpdateProfile(pb.UpdateProfileRequest(id=2), metadata=ADMIN)).user.profile
    assert not emptied.HasField("address")
    assert emptied.created_at == profile.created_at
    other = await refused(user.UpdateProfile(pb.UpdateProfileRequest(id=1), metadata=BOB))
    assert other.code == Code.PERMISSION_DENIED


_METHODS: dict[str, Any] = {
    "GetUser": pb.GetUserRequest,
    "CreateUser": pb.CreateUserRequest,
    "CreateAdmin": pb.CreateUserRequest,
    "UpdateUser": pb.UpdateUserRequest,
    "DeleteUser": pb.DeleteUserRequest,
    "ListUsers": pb.ListUsersRequest,
    "Login": pb.LoginRequest,
    "RefreshToken": pb.RefreshTokenRequest,
    "Logout": pb.LogoutRequest,
    "SetUserStatus": pb.SetUserStatusRequest,
    "ChangePassword": pb.ChangePasswordRequest,
    "RequestPasswordReset": pb.RequestPasswordResetRequest,
    "ResetPassword": pb.ResetPasswordRequest,
    "SetUserRoles": pb.SetUserRolesRequest,
    "ListAuditLog": common_pb2.ListAuditLogRequest,
    "GetVerificationKeys": Empty,
    "UpdateProfile": pb.UpdateProfileRequest,
    "BatchCreateUsers": pb.CreateUserRequest,
}
_LIKELY: dict[str, Any] = {
    "CreateUser": st.builds(
        pb.CreateUserRequest,
        name=st.text(st.characters(codec="utf-8"), max_size=5),
        email=st.sampled_from(["a@b.cc", "A@B.CC", "é@ü.de", "x"]),
        password=st.text(st.characters(codec="utf-8"), min_size=8, max_size=9),
    ),
    "Login": st.builds(
        pb.LoginRequest,
        login=st.sampled_from(["bob", "BOB@example.com", "\u0130@x.y"]) | st.text(max_size=4),
        password=st.text(st.characters(codec="utf-8"), max_size=9),
    ),
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(
    user: Any, databases: Databases, method: str
) -> None:
    drawn = requests(user, method, _METHODS) | _LIKELY.get(method, st.nothing())
    await answers_whatever_it_is_asked(getattr(user, method), drawn, [ADMIN, BOB, NOBODY], databases)
