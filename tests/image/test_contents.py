"""What the image holds, and what it must not."""

import json
import re
import tomllib
from pathlib import Path

from tests.image.archive import Archive
from tests.image.conftest import REPOSITORY

#: Megabytes of files. Measured: 207 on Debian 12 with Python 3.11.
SIZE = 230
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def packages(root: Path) -> Path:
    return next(root.glob("opt/meshmart/lib/python3*/site-packages"))


def names(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*")}


def test_it_runs_python_as_nobody_in_particular(archive: Archive) -> None:
    assert archive.config["Entrypoint"] == ["python"]
    assert archive.config["User"] == "65532:65532"
    assert not archive.config.get("Cmd")
    assert archive.environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_its_labels_tell_what_it_is_and_where_from(archive: Archive) -> None:
    labels = {key.rpartition(".")[2]: value for key, value in archive.config["Labels"].items()}
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["created"])
    assert labels["source"].startswith("https://")
    assert labels["title"]
    assert labels["description"]


def test_it_is_small(root: Path) -> None:
    size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    assert size < SIZE * 1e6, f"{size / 1e6:.0f} MB"


def test_python_and_the_command_are_the_only_programs(root: Path) -> None:
    found = {p.name for p in root.rglob("*") if p.parent.name in ("bin", "sbin") and not p.is_dir()}
    assert not [name for name in found if not re.fullmatch(r"python[\d.]*|meshmart", name)]


def test_there_is_no_tool_to_install_or_build_with(root: Path) -> None:
    tools = {"pip", "setuptools", "ensurepip", "wheel", "uv", "grpc_tools", "_distutils_hack", "apt"}
    assert not names(root) & tools


def test_there_is_no_test_code_no_history_and_no_secret(root: Path) -> None:
    assert not names(root) & {"tests", "test", "conftest.py", "pytest", ".git", ".venv", "pip.conf"}
    authorities = {"roots.pem", "cacert.pem"}  # grpc's and certifi's
    assert not [p for p in root.rglob("*") if p.suffix in (".key", ".pem") and p.name not in authorities]


def test_everything_that_python_imports_is_compiled_already(root: Path) -> None:
    sources = [p for p in packages(root).rglob("*.py") if p.stat().st_size]
    lacking = [p for p in sources if not list((p.parent / "__pycache__").glob(f"{p.stem}.*.pyc"))]
    assert not lacking


def test_every_data_file_of_ours_is_installed(root: Path) -> None:
    tops = [(REPOSITORY, top) for top in ("services", "local", "meshmart")]
    tops.append((REPOSITORY / "mesh" / "src", "grpcmesh"))
    ours = [(base, p) for base, top in tops for p in (base / top).rglob("*")]
    files = [(b, p) for b, p in ours if p.is_file() and p.suffix not in (".pyc", ".proto")]
    installed = packages(root)
    assert not [str(p) for base, p in files if not (installed / p.relative_to(base)).is_file()]


def test_nothing_is_setuid_and_only_tmp_is_open_to_all(root: Path) -> None:
    files = [p for p in root.rglob("*") if not p.is_symlink()]
    assert not [p for p in files if p.stat().st_mode & 0o6000]
    assert [p for p in files if p.stat().st_mode & 0o002] == [root / "tmp"]


def test_the_list_of_contents_names_python_and_debian_packages_with_their_versions(
    root: Path, sbom_file: Path
) -> None:
    inside = root / "usr/share/sbom/meshmart.cdx.json"
    assert inside.read_bytes() == sbom_file.read_bytes()
    purls = {c.get("purl", "").partition("?")[0] for c in json.loads(inside.read_text())["components"]}
    lock = (REPOSITORY / "requirements.lock").read_text()
    grpc = re.search(r"^grpcio==(\S+)", lock, re.MULTILINE)
    assert grpc is not None
    assert f"pkg:pypi/grpcio@{grpc[1]}" in purls
    assert any(p.startswith("pkg:deb/debian/libc6@") for p in purls)
    assert not [p for p in purls if p.startswith("pkg:pypi/setuptools")]


def test_scanners_find_the_debian_packages_and_lawyers_their_licences(root: Path) -> None:
    records = sorted(p.name for p in (root / "var/lib/dpkg/status.d").iterdir())
    assert {"libc6", "libssl3"} <= set(records) or {"libc6", "libssl3t64"} <= set(records)
    assert [r for r in records if not (root / "usr/share/doc" / r / "copyright").is_file()] == []
