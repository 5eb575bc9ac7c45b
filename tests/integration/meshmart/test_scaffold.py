"""`meshmart new service` and `meshmart remove service`, on a copy of this checkout."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from local.catalog import of_manifests
from meshmart.scaffold.files import GENERATED
from services.manifest import load

ROOT = Path(__file__).parents[3]
#: What the command reads, and what the new service's tests need.
COPIED = ("Makefile", "pyproject.toml", "docs/methods.md", "helm", "local", "mesh/src", "meshmart", "protos")
COPIED += ("services", "tests", "tools", "bench")
#: The programs that read the manifests, besides the verbs of `meshmart`. Others read them in the same way.
PROGRAMS = [
    *(
        ("-m", f"services.{name}.main")
        for name in ("analytics", "chat", "notification", "order", "payment", "product", "user")
    ),
    *(("-m", name) for name in ("services.migrate", "local.main", "meshmart.console", "meshmart.toolbox")),
    ("-m", "tools.manifests"),
    ("tools/methods-table",),
]
#: Seconds, as a guard against a hang.
PATIENCE = 300


class Checkout:
    """A copy of this checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run Python in it, on its own modules."""
        path = os.pathsep.join(str(self.root / name) for name in ("", "mesh/src", "protos"))
        environ = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.root, env=environ, capture_output=True, text=True, timeout=PATIENCE
        )

    def done(self, *arguments: str) -> str:
        """Run Python, and return what it prints."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def files(self) -> Mapping[str, bytes]:
        found = (
            path for path in self.root.rglob("*") if path.is_file() and ".pytest_cache" not in path.parts
        )
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=ignored)
        else:
            shutil.copy(ROOT / name, target)
    return Checkout(root)


def test_a_new_service_is_complete_and_its_tests_pass(checkout: Checkout) -> None:
    before = checkout.files()
    checkout.done("-m", "meshmart", "new", "service", "parcel")
    after = checkout.files()
    assert {name for name in before if before[name] != after.get(name)} == set(GENERATED)
    assert all("parcel" in name for name in after.keys() - before.keys())
    checkout.done("-m", "tools.manifests", "--check")
    checkout.done("tools/methods-table", "--check")
    catalog = of_manifests(load(checkout.root / "services"))
    assert catalog["parcel"].stores
    # Its own tests, that its manifest is what its code calls, and that its package says what it is for.
    checkout.done(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "parcel and not postgresql"),
        *("tests/unit/services", "tests/unit/test_packages.py", "tests/integration/services/test_parcel.py"),
    )


def test_a_service_is_removed_without_a_trace(checkout: Checkout) -> None:
    before = checkout.files()
    checkout.done("-m", "meshmart", "new", "service", "parcel")
    printed = checkout.done("-m", "meshmart", "remove", "service", "parcel")
    assert "services/parcel" in printed.splitlines()
    assert checkout.files() == before


def test_linters_find_nothing_in_a_service_with_any_name(checkout: Checkout) -> None:
    # Shorter and longer lines than those of the templates, and imports in another order.
    names = ("to", "gift", "w" * 31)
    for name in names:
        checkout.done("-m", "meshmart", "new", "service", name)
    mine = [f"services/{name}" for name in names] + ["tests/unit/services", "tests/integration/services"]
    checkout.done("-m", "ruff", "check", "--no-cache", *mine)
    checkout.done("-m", "ruff", "format", "--no-cache", "--check", *mine)


def test_a_generator_that_fails_leaves_the_checkout_as_it_was(checkout: Checkout) -> None:
    checkout.done("-m", "meshmart", "new", "service", "parcel")
    generator = checkout.root / "tools/methods-table"
    generator.write_text("raise SystemExit('the generator is broken')")
    before = checkout.files()
    for command in (("new", "service", "gift"), ("remove", "service", "parcel")):
        refused = checkout.run("-m", "meshmart", *command)
        assert refused.returncode == 1
        assert "the generator is broken" in refused.stderr
        assert checkout.files() == before


def test_a_new_service_that_kill_9_interrupted_is_removed(checkout: Checkout) -> None:
    before = checkout.files()
    generator = "tools/methods-table"
    (checkout.root / generator).write_text("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n")
    killed = checkout.run("-m", "meshmart", "new", "service", "parcel")
    assert killed.returncode == -signal.SIGKILL
    (checkout.root / generator).write_bytes(before[generator])
    checkout.done("-m", "meshmart", "remove", "service", "parcel")
    assert checkout.files() == before


def test_a_service_that_is_called_is_not_removed(checkout: Checkout) -> None:
    before = checkout.files()
    refused = checkout.run("-m", "meshmart", "remove", "service", "chat")
    assert refused.returncode == 1
    assert "chat is still used: " in refused.stderr
    for user in ("services/loadgen/service.toml", "services/user/receivers.py"):
        assert user in refused.stderr
    assert checkout.files() == before


def test_a_wrong_manifest_is_told_by_every_program(checkout: Checkout) -> None:
    manifest = checkout.root / "services/order/service.toml"
    manifest.write_text("replica = 3\n" + manifest.read_text())
    for program in PROGRAMS:
        refused = checkout.run(*program)
        assert refused.returncode == 1, program
        assert refused.stderr == "services/order/service.toml: replica: there is no such key\n", program


@pytest.mark.parametrize("verb", [["--help"], ["status"], ["new", "service", "parcel"]])
def test_a_wrong_manifest_is_told_by_every_verb(checkout: Checkout, verb: list[str]) -> None:
    manifest = checkout.root / "services/order/service.toml"
    manifest.write_text("replica = 3\n" + manifest.read_text())
    refused = checkout.run("-m", "meshmart", *verb)
    assert refused.returncode == 1
    assert refused.stderr == "meshmart: services/order/service.toml: replica: there is no such key\n"


def test_elsewhere_than_in_a_checkout_nothing_is_done(checkout: Checkout, tmp_path: Path) -> None:
    (checkout.root / "Makefile").unlink()
    refused = checkout.run("-m", "meshmart", "new", "service", "parcel")
    assert refused.returncode == 1
    assert "is not in a checkout of this project" in refused.stderr
