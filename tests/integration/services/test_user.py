from typing import Any

import grpc
import pytest
from ecommerce import common_pb2
from ecommerce import user_pb2 as pb
from google.protobuf.empty_pb2 import Empty
from hypothesis import strategies as st

from tests.databases import Databases

from .shopkit import ADMIN, BOB, NOBODY, answers_whatever_it_is_asked, refused, requests
from .userkit import Running, create, databases, log, running, user

__all__ = ["databases", "running", "user"]  # fixtures

Code = grpc.StatusCode


async def test_a_person_registers_logs_in_changes_and_leaves(user: Any) -> None:
    request = create("zoë", email="zoe@example.com", password="zoë-password", age=40)
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
    request = create("root", password="root-password", roles=["moderator"])
    made = (await user.CreateAdmin(request, metadata=NOBODY)).user
    assert list(made.roles) == ["user", "admin"]
    assert (await user.Login(pb.LoginRequest(login="root", password="root-password"))).user == made
    refusal = await refused(user.CreateAdmin(create("again"), metadata=NOBODY))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"password"})


async def test_what_is_taken_is_named(user: Any) -> None:
    taken = await refused(user.CreateUser(create("BOB", email="b@example.com"), metadata=NOBODY))
    assert (taken.code, taken.resource) == (Code.ALREADY_EXISTS, ("user", "BOB"))
    update = pb.UpdateUserRequest(id=2, name="bob", email="ALICE@example.com")
    taken = await refused(user.UpdateUser(update, metadata=BOB))
    assert (taken.code, taken.resource) == (Code.ALREADY_EXISTS, ("user", "ALICE@example.com"))


async def test_what_admins_did_is_in_the_log_with_its_outcome(running: Running) -> None:
    user = running.user
    await user.CreateAdmin(create("root", password="root-password"), metadata=NOBODY)
    made = (await user.CreateUser(create("mod", roles=["moderator"]), metadata=ADMIN)).user
    await user.CreateUser(create("self"), metadata=BOB)  # no admin's doing
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
        user.CreateUser(create("x", roles=["admin"]), metadata=BOB),
        user.CreateUser(create("x", roles=["moderator"]), metadata=NOBODY),
    ):
        refusal = await refused(call)
        assert refusal.code == Code.PERMISSION_DENIED
        assert refusal.reason
    assert (await refused(user.GetUser(pb.GetUserRequest(id=2)))).code == Code.UNAUTHENTICATED


async def test_an_admin_acts_for_anyone(user: Any) -> None:
    assert (await user.GetUser(pb.GetUserRequest(id=2), metadata=ADMIN)).user.name == "bob"
    listed = [u.name async for u in user.ListUsers(pb.ListUsersRequest(page_size=2), metadata=ADMIN)]
    assert listed == ["alice", "bob"]
    made = (await user.CreateUser(create("mod", roles=["user", "moderator"]), metadata=ADMIN)).user
    assert list(made.roles) == ["user", "moderator"]


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("GetUser", pb.GetUserRequest(), {"id"}),
        ("CreateUser", pb.CreateUserRequest(), {"name", "email"}),
        ("CreateUser", create("a", email="not-an-email", password="short"), {"email", "password"}),
        ("CreateUser", create("a", age=-1, roles=["king"]), {"age", "roles[0]"}),
        ("CreateUser", create("a\0", email="a@b.cc"), {"name"}),
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
    wanted = [create(f"n{i}", age=i, roles=["user", "moderator"]) for i in range(99)]
    wanted.append(create("last", password="last-password"))
    made = await user.BatchCreateUsers(iter(wanted), metadata=ADMIN)
    assert made.count == 100
    assert [u.name for u in made.users] == [w.name for w in wanted]
    assert list(made.users[0].roles) == ["user", "moderator"]
    login = await user.Login(pb.LoginRequest(login="last", password="last-password"))
    assert login.user == made.users[-1]
    assert (await user.BatchCreateUsers(iter(()), metadata=ADMIN)).count == 0


async def test_of_many_all_are_registered_or_none(user: Any) -> None:
    wrong = [create("new"), create("", email="x"), create("New", password="short")]
    refusal = await refused(user.BatchCreateUsers(iter(wrong), metadata=ADMIN))
    assert refusal.code == Code.INVALID_ARGUMENT
    assert refusal.fields == {
        "requests[1].name",
        "requests[1].email",
        "requests[2].name",
        "requests[2].email",
        "requests[2].password",
    }
    taken = await refused(user.BatchCreateUsers(iter([create("new"), create("BOB")]), metadata=ADMIN))
    assert (taken.code, taken.resource) == (Code.ALREADY_EXISTS, ("user", "BOB, BOB@example.com"))
    many = await refused(user.BatchCreateUsers(iter([create("new")] * 101), metadata=ADMIN))
    assert (many.code, many.fields) == (Code.INVALID_ARGUMENT, {"requests"})
    for who, code in ((BOB, Code.PERMISSION_DENIED), (NOBODY, Code.UNAUTHENTICATED)):
        assert (await refused(user.BatchCreateUsers(iter([create("new")]), metadata=who))).code == code
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
