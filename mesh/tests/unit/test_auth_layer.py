"""What `UserLayer` demands of a call."""

import pytest

from grpcmesh.auth import UserLayer
from grpcmesh.authz import UserRule
from grpcmesh.errors import PermissionDenied, Unauthenticated
from tests.unit.fakes import call
from tests.unit.tokenskit import Shop


def layer(rule: UserRule) -> tuple[UserLayer, str]:
    shop = Shop()
    return UserLayer(shop.verifier, lambda method: rule), shop.token()


ANYONE, USER, MODERATOR = UserRule(optional=True), UserRule(), UserRule(roles=frozenset({"moderator"}))


def test_a_method_for_anyone_needs_no_token_and_reads_one() -> None:
    users, token = layer(ANYONE)
    nobody = call()
    users.on_start(nobody)
    assert nobody.principal is None
    alice = call(authorization=f"Bearer {token}")
    users.on_start(alice)
    assert alice.principal is not None
    assert alice.principal.name == "alice"


@pytest.mark.parametrize("rule", [USER, MODERATOR])
def test_a_missing_token_is_refused_with_both_remedies(rule: UserRule) -> None:
    # A new policy has no [users], so this message is the first that its author sees.
    users, _ = layer(rule)
    with pytest.raises(Unauthenticated) as refused:
        users.on_start(call())
    assert "authorization: Bearer" in refused.value.message
    assert '"anyone" of this method in [users]' in refused.value.message


@pytest.mark.parametrize("rule", [ANYONE, USER, MODERATOR])
@pytest.mark.parametrize("header", ["Bearer x.y.z", "Basic YTpi", "Bearer", ""])
def test_a_bad_token_is_refused_whatever_the_method_needs(rule: UserRule, header: str) -> None:
    users, _ = layer(rule)
    with pytest.raises(Unauthenticated):
        users.on_start(call(authorization=header))


def test_a_method_for_users_needs_a_token() -> None:
    users, token = layer(USER)
    with pytest.raises(Unauthenticated):
        users.on_start(call())
    users.on_start(call(authorization=f"bearer {token}"))


def test_a_method_for_a_role_needs_that_role() -> None:
    users, token = layer(MODERATOR)
    with pytest.raises(PermissionDenied) as raised:
        users.on_start(call(authorization=f"Bearer {token}"))
    assert raised.value.reason.reason == "ROLE_REQUIRED"
    users, token = layer(UserRule(roles=frozenset({"moderator", "admin"})))
    users.on_start(call(authorization=f"Bearer {token}"))


def test_without_a_verifier_only_the_tokenless_pass() -> None:
    users = UserLayer(None, lambda method: ANYONE)
    users.on_start(call())
    with pytest.raises(Unauthenticated):
        users.on_start(call(authorization="Bearer x"))
