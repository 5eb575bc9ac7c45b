"""Every package says in its docstring what it is for, what may import it, and where to start reading."""

import ast
import re
from functools import cache
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "grpcmesh": ROOT / "mesh/src/grpcmesh",
    "services": ROOT / "services",
    "local": ROOT / "local",
    "meshmart": ROOT / "meshmart",
    # `bench` and `tools` are only directories, of programs and of these packages.
    "bench.soak": ROOT / "bench/soak",
    "tools.dashboards": ROOT / "tools/dashboards",
    "tools.manifests": ROOT / "tools/manifests",
}
FOLDERS = {
    ".".join((root, *path.parent.relative_to(source).parts)): path.parent
    for root, source in SOURCES.items()
    for path in sorted(source.rglob("__init__.py"))
}


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*SOURCES, cache_dir=None)


def docstring(package: str) -> str:
    tree = ast.parse((FOLDERS[package] / "__init__.py").read_text(encoding="utf-8"))
    return " ".join((ast.get_docstring(tree) or "").split())


def importers(package: str) -> set[str]:
    """Return the modules outside a package that import something of it, without the public API itself."""
    inside = {package} | graph().find_descendants(package)
    return {i for m in inside for i in graph().find_modules_that_directly_import(m)} - inside - {"grpcmesh"}


@pytest.mark.parametrize("package", FOLDERS)
def test_a_package_says_what_it_is_for_and_where_to_start(package: str) -> None:
    said = docstring(package)
    assert re.match(r"\S.*?[.:] ", said), "no sentence about its purpose"
    start = re.search(r"Start reading in `([\w.]+)`", said)
    assert start, said
    path = FOLDERS[package].joinpath(*start[1].split("."))
    assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), start[1]


@pytest.mark.parametrize("package", FOLDERS)
def test_a_package_is_imported_only_by_those_that_it_names(package: str) -> None:
    said = re.search(r"May be imported by (.*?)\.(?: |$)", docstring(package))
    assert said, docstring(package)
    named = re.findall(r"`([\w.]+)`", said[1])
    assert named or said[1] == "nothing"
    others = {i for i in importers(package) if not any(f"{i}.".startswith(f"{name}.") for name in named)}
    assert not others
