from pathlib import Path

import pytest

from grpcmesh.authz import AuthzLayer, Policy, PolicyError, PolicyStore
from grpcmesh.authz.policy import DEFAULT_RULE
from grpcmesh.call import Kind, Method, Workload
from grpcmesh.config import AuthzConfig
from grpcmesh.errors import PermissionDenied
from tests.unit.fakes import call, samples, workload

SHOP = """
[[allow]]
from = ["storefront"]
methods = ["shop.Shop/Buy", "shop.Catalogue/*"]
[[allow]]
from = ["order", "spiffe://elsewhere/ns/other/sa/partner"]
methods = ["shop.Shop/Buy"]
[users]
"shop.Catalogue/*" = "anyone"
"shop.Catalogue/Write" = ["admin", "editor"]
"shop.Shop/Buy" = "user"
"""

DOMAIN = ("cluster.local", "default")


def method(name: str) -> Method:
    return Method.parse(f"/{name}", Kind.UNARY)


@pytest.mark.parametrize(
    ("caller", "name", "allowed"),
    [
        (workload("storefront"), "shop.Shop/Buy", True),
        (workload("storefront"), "shop.Catalogue/Anything", True),
        (workload("storefront"), "shop.Shop/Refund", False),
        (workload("order"), "shop.Shop/Buy", True),
        (workload("order"), "shop.Catalogue/Anything", False),
        (workload("stranger"), "shop.Shop/Buy", False),
        (workload("storefront", namespace="other"), "shop.Shop/Buy", False),
        (workload("storefront", trust_domain="elsewhere"), "shop.Shop/Buy", False),
        (workload("partner", "other", "elsewhere"), "shop.Shop/Buy", True),
        (workload("partner"), "shop.Shop/Buy", False),
        (workload("storefront"), "shop.Shopping/Buy", False),
    ],
)
def test_a_workload_may_call_what_the_policy_says(caller: Workload, name: str, allowed: bool) -> None:
    assert Policy.parse(SHOP).allows(caller, method(name), *DOMAIN) is allowed


def test_an_empty_policy_denies_everything() -> None:
    assert not Policy.parse("").allows(workload("storefront"), method("shop.Shop/Buy"), *DOMAIN)


def test_the_rule_of_a_method_goes_before_that_of_its_service() -> None:
    policy = Policy.parse(SHOP)
    assert policy.user_rule(method("shop.Catalogue/Read")).optional
    assert policy.user_rule(method("shop.Catalogue/Write")).roles == {"admin", "editor"}
    assert not policy.user_rule(method("shop.Shop/Buy")).optional


def test_a_method_that_is_not_listed_needs_a_user() -> None:
    rule = Policy.parse(SHOP).user_rule(method("shop.Shop/Refund"))
    assert rule is DEFAULT_RULE
    assert (rule.optional, rule.roles) == (False, frozenset())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[allow]", "Expected"),
        ("[deny]", "unknown section: deny"),
        ("allow = 1", r"must be tables"),
        ("[[allow]]\nfrom = ['a']", r"allow\[1\]: must have from and methods"),
        ("[[allow]]\nfrom = 'a'\nmethods = ['s.S/M']", r"allow\[1\]: from: must be a list"),
        ("[[allow]]\nfrom = []\nmethods = ['s.S/M']", r"allow\[1\]: from: must be a list"),
        ("[[allow]]\nfrom = ['a b']\nmethods = ['s.S/M']", "'a b' is neither"),
        ("[[allow]]\nfrom = ['*']\nmethods = ['s.S/M']", r"'\*' is neither"),
        ("[[allow]]\nfrom = ['a']\nmethods = ['*']", r"'\*' is neither"),
        ("[[allow]]\nfrom = ['a']\nmethods = ['/s.S/M']", "'/s.S/M' is neither"),
        ("[users]\n's.S/M' = 'everyone'", 'must be "anyone"'),
        ("[users]\n's.S/M' = []", 'must be "anyone"'),
        ("[users]\nS = 'user'", "'S' is neither"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_entry(text: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        Policy.parse(text)


class Enforced:
    """An authorization layer over a policy file."""

    def __init__(self, directory: Path, text: str = SHOP) -> None:
        self.path = directory / "policy.toml"
        self.path.write_text(text)
        self.store = PolicyStore(AuthzConfig(self.path))
        self.store.load()
        self.layer = AuthzLayer(self.store, *DOMAIN)

    def allows(self, caller: Workload | None, path: str = "/shop.Shop/Buy") -> bool:
        try:
            self.layer.on_start(call(path, workload=caller))
        except PermissionDenied:
            return False
        return True


def test_without_a_file_everything_is_denied() -> None:
    store = PolicyStore(AuthzConfig())
    store.load()
    assert not store.poll()
    with pytest.raises(PermissionDenied):
        AuthzLayer(store, *DOMAIN).on_start(call(workload=workload("storefront")))


def test_a_caller_that_is_nobody_is_denied(tmp_path: Path) -> None:
    assert not Enforced(tmp_path).allows(None)


def test_a_denial_says_who_may_not_do_what(tmp_path: Path) -> None:
    with pytest.raises(PermissionDenied) as raised:
        Enforced(tmp_path).layer.on_start(call(workload=workload("stranger")))
    caller = "spiffe://cluster.local/ns/default/sa/stranger"
    assert raised.value.reason.reason == "WORKLOAD_NOT_ALLOWED"
    assert raised.value.reason.metadata == {"caller": caller, "method": "shop.Shop/Buy"}


def test_a_new_policy_voids_what_was_decided_under_the_old_one(tmp_path: Path) -> None:
    enforced = Enforced(tmp_path)
    assert enforced.allows(workload("storefront"))
    assert not enforced.allows(workload("newcomer"))
    enforced.path.write_text(SHOP.replace("storefront", "newcomer"))
    assert enforced.store.poll()
    assert not enforced.allows(workload("storefront"))
    assert enforced.allows(workload("newcomer"))


def test_a_broken_policy_leaves_the_last_good_one_and_is_told_once(tmp_path: Path) -> None:
    enforced = Enforced(tmp_path)
    enforced.path.write_text("[[allow]")
    assert not enforced.store.poll()
    assert not enforced.store.poll()
    assert enforced.allows(workload("storefront"))
    enforced.path.write_text(SHOP)  # good again, and what it was
    assert enforced.store.poll()
    assert samples(enforced.store) == {
        "mesh_policy_reloads_total{result=success}": 1,
        "mesh_policy_reloads_total{result=error}": 1,
    }


def test_a_policy_that_disappears_leaves_the_last_good_one(tmp_path: Path) -> None:
    enforced = Enforced(tmp_path)
    enforced.path.unlink()
    assert not enforced.store.poll()
    assert enforced.allows(workload("storefront"))


def test_an_unchanged_file_is_no_reload(tmp_path: Path) -> None:
    enforced = Enforced(tmp_path)
    generation = enforced.store.generation
    enforced.path.write_text(SHOP)
    assert not enforced.store.poll()
    assert enforced.store.generation == generation


def test_the_sum_of_denials_is_there_before_the_first(tmp_path: Path) -> None:
    assert samples(Enforced(tmp_path).layer) == {"mesh_authz_denials_total{caller=other,method=other}": 0}


def test_denials_are_counted_by_caller_and_method_with_bounded_labels(tmp_path: Path) -> None:
    enforced = Enforced(tmp_path)
    for number in range(600):
        assert not enforced.allows(workload(f"stranger-{number}"))
    counted = samples(enforced.layer)
    assert sum(counted.values()) == 600
    assert len(counted) == 501
    assert counted["mesh_authz_denials_total{caller=other,method=other}"] == 100


def test_decisions_are_remembered_without_bound_on_callers(tmp_path: Path) -> None:
    enforced = Enforced(tmp_path)
    for number in range(5000):
        assert not enforced.allows(workload(f"stranger-{number}"))
    assert enforced.allows(workload("storefront"))
