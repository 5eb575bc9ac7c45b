"""What `make manifests` writes: it is current, and it follows the manifests."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from grpcmesh.authz.policy import Policy
from grpcmesh.call import Kind, Method, Workload
from meshmart.scaffold.files import GENERATED
from services.manifest import Manifest, Manifests, shop
from services.manifest import Method as Rule
from tools.manifests import chart, contracts, policy, proto, storage
from tools.manifests.__main__ import ROOT, files, stale

DOMAIN = ("cluster.local", "meshmart")
EXAMPLE = Manifest(
    name="example",
    subnet=10,
    service="ecommerce.ExampleService",
    replicas=3,
    stores=True,
    secrets=("mail",),
    calls={"user": ("GetVerificationKeys",)},
    methods={"Write": Rule(), "List": Rule("anyone"), "Erase": Rule(("admin",), internal=True)},
)


def with_example() -> Manifests:
    """The shop with one more service, which order calls."""
    manifests = dict(shop())
    order = manifests["order"]
    manifests["order"] = replace(order, calls={**order.calls, "example": ("Erase",)})
    return {**manifests, "example": EXAMPLE}


def test_the_files_are_current() -> None:
    assert stale(ROOT, shop()) == [], "run make manifests"


def test_the_scaffold_restores_every_file_that_is_written() -> None:
    written = {str(path.relative_to(ROOT)) for path in files(ROOT, shop())}
    assert set(GENERATED) == {*written, "docs/methods.md"}  # which tools/methods-table writes


def test_the_manifests_name_the_methods_of_the_protos() -> None:
    assert list(proto.problems(shop())) == []


def test_who_stores_has_migrations_and_nobody_else(tmp_path: Path) -> None:
    assert list(storage.problems(ROOT, shop())) == []
    migration = tmp_path / "services/chat/migrations/versions/0001_rooms.py"
    migration.parent.mkdir(parents=True)
    migration.touch()
    manifests = {"chat": Manifest("chat", 1), "example": EXAMPLE}
    assert list(storage.problems(tmp_path, manifests)) == [
        "services/chat/service.toml: stores: is false, and services/chat/migrations/versions has migrations",
        "services/example/service.toml: stores: is true, and services/example/migrations/versions has "
        "no migration",
    ]


def test_a_method_that_only_the_manifest_or_only_the_proto_has_is_told() -> None:
    manifests = dict(shop())
    chat = manifests.pop("chat")
    renamed = {"Talk" if name == "Chat" else name: rule for name, rule in chat.methods.items()}
    assert list(proto.problems({**manifests, "chat": replace(chat, methods=renamed)})) == [
        "services/chat/service.toml: methods.Chat: is missing",
        "services/chat/service.toml: methods.Talk: ecommerce.ChatService has no such method",
    ]
    assert list(proto.problems(manifests)) == ["protos: no manifest has service = 'ecommerce.ChatService'"]
    unknown = {**manifests, "chat": chat, "example": EXAMPLE}
    assert list(proto.problems(unknown)) == [
        "services/example/service.toml: service: the protos have no ecommerce.ExampleService"
    ]


def test_the_policy_of_a_new_service() -> None:
    rules = Policy.parse(policy.render(with_example()))

    def may(caller: str, name: str) -> bool:
        return rules.allows(Workload(*DOMAIN, caller), Method.parse(f"/{name}", Kind.UNARY), *DOMAIN)

    assert may("client", "ecommerce.ExampleService/Write")
    assert not may("client", "ecommerce.ExampleService/Erase")
    assert may("order", "ecommerce.ExampleService/Erase")
    assert not may("order", "ecommerce.ExampleService/Write")
    assert not may("product", "ecommerce.ExampleService/Erase")
    assert may("example", "ecommerce.UserService/GetVerificationKeys")
    assert not may("example", "ecommerce.UserService/GetUser")

    def user(name: str) -> tuple[bool, frozenset[str]]:
        rule = rules.user_rule(Method.parse(f"/ecommerce.ExampleService/{name}", Kind.UNARY))
        return rule.optional, frozenset(rule.roles)

    assert user("Write") == (False, frozenset())
    assert user("List") == (True, frozenset())
    assert user("Erase") == (False, {"admin"})


def test_the_chart_of_a_new_service() -> None:
    text = (ROOT / "helm/meshmart/values.yaml").read_text()
    before, after = yaml.safe_load(text), yaml.safe_load(chart.values(text, with_example()))
    assert after["services"].pop("example") == {"calls": ["user"], "replicas": 3, "mail": True}
    assert "example" in after["services"]["order"]["calls"]
    after["services"]["order"]["calls"].remove("example")
    assert after == before
    lists = yaml.safe_load("\n".join(chart.shop(with_example()).splitlines()[3:-1]))
    assert "example" in lists["services"]
    assert "example" in lists["storing"]
    assert lists["signing"] == ["user"]


def test_values_without_services_are_refused() -> None:
    with pytest.raises(ValueError, match="services"):
        chart.values("image: {}\n", shop())


def test_the_import_contracts_of_a_new_service() -> None:
    text = contracts.render((ROOT / "pyproject.toml").read_text(), with_example())
    found = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    naming = [c["name"] for c in found if any("services.example" in str(c.get(key)) for key in c)]
    assert len(naming) == 3


def test_a_file_that_was_changed_by_hand_is_told(tmp_path: Path) -> None:
    for path, text in files(ROOT, shop()).items():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
    assert stale(tmp_path, shop()) == []
    changed = tmp_path / "services/policy.toml"
    changed.write_text(changed.read_text() + "# by hand\n")
    assert stale(tmp_path, shop()) == [changed]
