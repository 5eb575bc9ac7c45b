"""Log-ins, tokens, passwords, and whoever leaves."""

import time
from typing import Any

import grpc
import pytest
from ecommerce import user_pb2 as pb
from ecommerce.notification_pb2 import SendMailRequest
from ecommerce.notification_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from google.protobuf.empty_pb2 import Empty
from sqlalchemy import select

from grpcmesh.auth import TokenVerifier
from grpcmesh.errors import Unauthenticated
from services.kit.outbox import SqlQueue
from services.kit.relay import Outcome
from services.kit.tokens import UserKeys
from services.user.outbox_events import AGAIN_AFTER, FORGETTERS, RECOVERY
from services.user.receivers import Letters as PasswordLetters
from services.user.recovery import MAX_LETTERS
from services.user.sessions import OVERLAP, digest_of
from services.user.tables import recovery
from services.user.throttle import FREE

from .shopkit import ADMIN, BOB, NOBODY, refused, serving
from .userkit import CONFIG, Running, create, databases, letters, running, user, verified

__all__ = ["databases", "running", "user"]  # fixtures

Code = grpc.StatusCode


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


class Desk(NotificationServiceServicer):
    """NotificationService, as far as letters go."""

    def __init__(self) -> None:
        self.letters: list[SendMailRequest] = []

    async def SendMail(self, request: SendMailRequest, context: Any) -> Empty:
        self.letters.append(request)
        return Empty()


async def test_a_letter_holds_nothing_that_somebody_registered_with(running: Running) -> None:
    # Whoever registers with another's address would write to it, in the shop's name.
    name = "win a car at https://evil.example"
    await running.user.CreateUser(create(name, email="victim@example.com"), metadata=NOBODY)
    request = pb.RequestPasswordResetRequest(login="victim@example.com")
    await running.user.RequestPasswordReset(request, metadata=NOBODY)
    desk = Desk()
    async with serving(add_NotificationServiceServicer_to_server, desk) as channel:
        for found in await SqlQueue(running.db).take(RECOVERY, running.now + 1, running.now + 9, 100):
            for event in found:
                await PasswordLetters(channel, running.recovery)(event)
    (letter,) = desk.letters
    assert letter.to == "victim@example.com"
    assert "evil" not in letter.body + letter.subject


async def test_a_code_that_went_to_another_address_ends_with_it(running: Running) -> None:
    user = running.user
    await user.RequestPasswordReset(pb.RequestPasswordResetRequest(login="bob"), metadata=NOBODY)
    ((_, code),) = (await letters(running)).codes
    await user.UpdateUser(pb.UpdateUserRequest(id=2, name="bob", email="new@example.com"), metadata=BOB)
    reset = pb.ResetPasswordRequest(code=code, new_password="brand new one")
    assert (await refused(user.ResetPassword(reset, metadata=NOBODY))).reason == "RESET_CODE"
    # Its requests still count, so that renaming to and fro floods nobody.
    for _ in range(MAX_LETTERS):
        await user.RequestPasswordReset(pb.RequestPasswordResetRequest(login="bob"), metadata=NOBODY)
    assert len((await letters(running)).codes) == MAX_LETTERS - 1


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
    again = await user.CreateUser(create("bob"), metadata=NOBODY)
    assert again.user.id != 2
