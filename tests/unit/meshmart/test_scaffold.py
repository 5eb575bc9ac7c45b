"""The names that a new service may have, and the files that it gets."""

import shutil
from pathlib import Path

import pytest

from meshmart.errors import CommandError
from meshmart.scaffold.files import GENERATED, locked, render, restored_on_failure
from meshmart.scaffold.names import check
from meshmart.scaffold.service import add, checkout, remove
from meshmart.scaffold.uses import users
from services.manifest import parse

ROOT = Path(__file__).parents[3]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The manifests and protos of this checkout."""
    for path in (*ROOT.glob("services/*/service.toml"), *ROOT.glob("protos/ecommerce/*.proto")):
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gift-card", "'gift-card' is no name of a service"),
        ("Review", "'Review' is no name of a service"),
        ("../x", "'../x' is no name of a service"),
        ("réview", "'réview' is no name of a service"),
        ("none", "'none' is no name of a service: it is a word of Python or YAML"),
        ("warning", "'warning' is no name of a service: it is a word of Python or YAML"),
        ("class", "'class' is no name of a service: it is a word of Python or YAML"),
        ("on", "'on' is no name of a service: it is a word of Python or YAML"),
        ("console", "the name console is taken"),
        ("traces", "the name traces is taken"),
        ("public", "the name public is taken"),
        ("timestamp", "the name timestamp is taken: .*servicer.py would name two things Timestamp"),
        ("texts", "the name texts is taken: .*domain.py would name two things Texts"),
        ("order", "the name order is taken"),
        ("kit", "the name kit is taken"),
        ("postgres", "the name postgres is taken"),
        ("address", "the name address is taken: the protos have Address in common.proto"),
    ],
)
def test_a_name_that_cannot_be_a_services_is_refused(root: Path, name: str, told: str) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(CommandError, match=told):
        add(root, name)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("manifest", "services/manifest.py"),
        ("listings", "tests/integration/services/test_listings.py"),
        ("stubs", "tests/unit/services/stubs.py"),
    ],
)
def test_what_has_the_name_already_is_neither_shadowed_nor_overwritten(
    root: Path, name: str, there: str
) -> None:
    (root / there).parent.mkdir(parents=True, exist_ok=True)
    (root / there).write_text("mine = True\n")
    with pytest.raises(CommandError, match=f"the name {name} is taken: there is {there}"):
        add(root, name)
    assert (root / there).read_text() == "mine = True\n"


@pytest.mark.parametrize("name", ["json", "grpc", "email", "order2", "mesh", "health", "to", "w" * 31])
def test_a_name_that_nothing_has_can_be_a_services(name: str) -> None:
    check(ROOT, name)


def test_the_caches_of_a_service_that_is_gone_do_not_hold_its_name(root: Path) -> None:
    cache = root / "services/parcel/__pycache__"
    cache.mkdir(parents=True)
    (cache / "domain.cpython-313.pyc").write_bytes(b"")
    check(root, "parcel")


def test_a_change_that_ctrl_c_interrupts_is_undone(root: Path) -> None:
    (root / "pyproject.toml").write_text("before")
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def change() -> None:
        with restored_on_failure(root, "order"):
            shutil.rmtree(root / "services/order")
            (root / "protos/ecommerce/order_pb2.py").write_text("")
            (root / "pyproject.toml").write_text("after")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        change()
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_two_commands_do_not_change_services_at_the_same_time(root: Path) -> None:
    before = sorted(root.rglob("*"))
    for command in (lambda: add(root, "parcel"), lambda: remove(root, "order")):
        with locked(root), pytest.raises(CommandError, match="another command changes services of"):
            command()
    assert sorted(root.rglob("*")) == before


def test_every_generated_file_is_there() -> None:
    assert [path for path in GENERATED if not (ROOT / path).is_file()] == []


def test_what_is_no_service_is_not_removed(root: Path) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(CommandError, match=r"there is no service '\.\./x'; there are product, order"):
        remove(root, "../x")
    assert sorted(root.rglob("*")) == before


def test_the_checkout_around_a_directory_is_found(tmp_path: Path) -> None:
    assert checkout(ROOT / "services" / "order") == ROOT
    with pytest.raises(CommandError, match="is not in a checkout of this project"):
        checkout(tmp_path)


def test_the_files_of_a_service_bear_its_name_and_its_manifest_is_right() -> None:
    files = render("parcel", 10)
    assert all("parcel" in str(path) for path in files)
    manifest = parse("parcel", files[Path("services/parcel/service.toml")])
    assert (manifest.service, manifest.subnet) == ("ecommerce.ParcelService", 10)
    assert not [path for path, text in files.items() if "$" in text]


@pytest.mark.parametrize(
    ("code", "used"),
    [
        ("from services.review import domain", True),
        ("from services import review", True),
        ("import services.review.domain as d", True),
        ("from .. import services\nfrom ..services import review", True),
        ("from ..services.review.domain import Review", True),
        ("from ecommerce import review_pb2", True),
        ("from ecommerce.review_pb2_grpc import ReviewServiceStub", True),
        ("run(['-m', 'services.review.main'])", True),
        ("from services.reviews import domain", False),
        ('code = "from services.review import used"', False),
    ],
)
def test_who_uses_a_service_is_known_from_imports_and_names_of_modules(
    root: Path, code: str, used: bool
) -> None:
    (root / "local").mkdir(exist_ok=True)
    (root / "local/other.py").write_text(code)
    assert list(users(root, "review", {})) == (["local/other.py"] if used else [])


def test_code_that_cannot_be_read_is_named(root: Path) -> None:
    (root / "local").mkdir()
    (root / "local/other.py").write_text("\nimport services.review as\n")
    with pytest.raises(CommandError, match=r"local/other\.py:2: .*; mend it"):
        list(users(root, "review", {}))
