"""tools/check-dist: what it says of distributions that are not right, and the release workflow around it."""

import importlib.machinery
import importlib.util
import io
import re
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def _loaded() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("check_dist", str(ROOT / "tools/check-dist"))
    spec = importlib.util.spec_from_loader("check_dist", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


tool: Any = _loaded()
VERSION = tool.version()
INFO = f"grpcmesh-{VERSION}.dist-info"


def package() -> list[str]:
    source = ROOT / "mesh/src"
    found = [p for p in (source / "grpcmesh").rglob("*") if p.name.endswith(tool.KEPT)]
    return [str(p.relative_to(source)) for p in found if "__pycache__" not in p.parts]


def wheel(directory: Path, names: Iterable[str]) -> Path:
    path = directory / f"grpcmesh-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    return path


def sdist(path: Path, names: Iterable[str], kind: bytes = tarfile.REGTYPE, mtime: int = 1) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.mtime, member.uname, member.linkname = kind, mtime, "somebody", "/etc/passwd"
            archive.addfile(member, io.BytesIO() if kind == tarfile.REGTYPE else None)
    return path


METADATA = [f"{INFO}/METADATA", f"{INFO}/licenses/LICENSE"]


def test_a_wheel_has_the_whole_package_and_nothing_else(tmp_path: Path) -> None:
    assert list(tool.wheel_problems(wheel(tmp_path, [*package(), *METADATA]))) == []


@pytest.mark.parametrize(
    ("more", "less", "told"),
    [
        ("tests/test_mesh.py", "", "has ['tests/test_mesh.py']"),
        ("services/product/main.py", "", "has ['services/product/main.py']"),
        ("grpcmesh/tests/test_mesh.py", "", "has beyond the source ['grpcmesh/tests/test_mesh.py']"),
        ("", "grpcmesh/mesh.py", "lacks ['grpcmesh/mesh.py']"),
        ("", "grpcmesh/py.typed", "lacks grpcmesh/py.typed"),
        ("", f"{INFO}/licenses/LICENSE", "lacks grpcmesh-"),
    ],
)
def test_a_wheel_with_more_or_less_is_refused(tmp_path: Path, more: str, less: str, told: str) -> None:
    names = [name for name in [*package(), *METADATA, more] if name and name != less]
    assert any(told in problem for problem in tool.wheel_problems(wheel(tmp_path, names)))


def test_a_description_with_relative_links_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, [*package(), METADATA[1]])
    readme = tmp_path / "README.md"
    readme.write_text("[a](docs/a.md) [b](#b) [c](https://c.example/c) [d](examples/d)")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(METADATA[0], readme.read_text())
    assert list(tool.wheel_problems(path)) == [
        f"{path.name}: its description has the relative links docs/a.md, examples/d"
    ]
    tool.links(readme)
    base = "https://github.com/meshmart/meshmart/blob/HEAD/mesh"
    assert (
        readme.read_text() == f"[a]({base}/docs/a.md) [b](#b) [c](https://c.example/c) [d]({base}/examples/d)"
    )


def test_links_and_paths_outside_of_a_source_distribution_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    root = f"grpcmesh-{VERSION}"
    for name, kind, told in (
        (f"{root}/a", tarfile.SYMTYPE, "is a link or a device"),
        (f"{root}/../a", tarfile.REGTYPE, "is outside of"),
        ("elsewhere/a", tarfile.REGTYPE, "is outside of"),
    ):
        assert any(told in problem for problem in tool.sdist_problems(sdist(path, [name], kind)))


def test_a_source_distribution_packed_anew_depends_on_its_contents_only(tmp_path: Path) -> None:
    packed = []
    for place, names, mtime in (("a", ["x/1", "x/2"], 1), ("b", ["x/2", "x/1"], 2)):
        (tmp_path / place / "out").mkdir(parents=True)
        tool.pack(sdist(tmp_path / place / "x.tar.gz", names, mtime=mtime), tmp_path / place / "out", 1000)
        packed.append((tmp_path / place / "out/x.tar.gz").read_bytes())
    assert packed[0] == packed[1]


def test_a_release_has_the_tag_of_its_version_and_a_date_in_the_changelog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src/grpcmesh").mkdir(parents=True)
    (tmp_path / "src/grpcmesh/__init__.py").write_text('__version__ = "1.2.3"\n')
    monkeypatch.setattr(tool, "MESH", tmp_path)
    for heading, tag, told in (
        ("## 1.2.3 (not released yet)", None, []),
        ("## 1.2.3 (2026-12-01)", "grpcmesh-v1.2.3", []),
        ("## 1.2.3 (not released yet)", "grpcmesh-v1.2.3", ["1.2.3 has no date"]),
        ("## 1.2.3 (2026-12-01)", "grpcmesh-v1.2.4", ["the tag is grpcmesh-v1.2.4"]),
        ("## 1.2.2 (2026-12-01)", None, ["no section `## 1.2.3"]),
    ):
        (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n\n- something\n")
        found = list(tool.changelog_problems(tag))
        assert len(found) == len(told), found
        assert all(text in problem for text, problem in zip(told, found, strict=True))


def test_the_release_workflow_publishes_by_identity_with_pinned_actions() -> None:
    text = (ROOT / ".github/workflows/release.yaml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert all(
        re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d", line) for line in text.splitlines() if "uses:" in line
    )
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["smoke"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert (jobs["publish"]["needs"], jobs["smoke"]["needs"]) == ("smoke", "dist")
    assert "secrets." not in str(jobs["publish"])
    assert jobs["image"]["if"] == "startsWith(github.ref_name, 'v')"
