"""What the pages on Kubernetes tell one to type exists: commands, options, targets, values, versions."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tilt.understood import understood

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/kubernetes-local.md", "docs/operations.md"]
VALUES = yaml.safe_load((ROOT / "helm/meshmart/values.yaml").read_text())
VERSIONS = yaml.safe_load((ROOT / "k8s/versions.yaml").read_text())
SETTING = re.compile(r"[a-z][A-Za-z]+\.[A-Za-z.]+(=\S+)?")
#: Look like values of `tls`, and are files.
FILES = ("tls.crt", "tls.key")
TARGETS = re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.M)


def code(page: str) -> Iterator[str]:
    """The lines of its blocks, continued ones joined, and its inline code."""
    text = (ROOT / page).read_text()
    for block in re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S):
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def words(program: str) -> list[tuple[str, list[str]]]:
    """Every call of a program on any of the pages: the page, the arguments."""
    found = []
    for page in PAGES:
        for line in code(page):
            if line.startswith(f"{program} "):
                arguments = shlex.split(line.split(" &")[0].split("…")[0], comments=True)[1:]
                found.append((page, arguments))
    return found


@pytest.mark.parametrize(("page", "arguments"), words("meshmart"), ids=str)
def test_the_command_understands_it(page: str, arguments: list[str]) -> None:
    understood(arguments)


@pytest.mark.parametrize(("page", "arguments"), words("make"), ids=str)
def test_make_has_the_target(page: str, arguments: list[str]) -> None:
    assert set(arguments) <= set(TARGETS)


def settings() -> Iterator[str]:
    """Values as the pages name them: `--set a.b=c` and `a.b=c` in inline code."""
    for _, arguments in words("helm"):
        yield from (after for before, after in itertools.pairwise(arguments) if before == "--set")
    for page in PAGES[1:]:
        for each in code(page):
            if SETTING.fullmatch(each) and each.split(".")[0] in VALUES and each not in FILES:
                yield each


@pytest.mark.parametrize("setting", sorted(set(settings())))
def test_the_chart_has_the_value(setting: str) -> None:
    if setting.startswith("crds."):
        return  # cert-manager's
    at: Any = VALUES
    for key in setting.partition("=")[0].split("."):
        if isinstance(at, list):
            return  # of objects as in the API
        at = at["product" if key == "NAME" else key.split("[")[0]]


def test_paths_of_the_repository_are_there() -> None:
    for _, arguments in [*words("helm"), *words("kubectl"), *words("ctlptl")]:
        for each in arguments:
            if each.startswith(("helm/", "k8s/")):
                assert (ROOT / each).exists(), each


def test_cert_manager_s_version_is_the_pinned_one() -> None:
    installs = [arguments for _, arguments in words("helm") if arguments[:2] == ["install", "cert-manager"]]
    assert installs
    for arguments in installs:
        assert arguments[2] == VERSIONS["certManager"]["chart"]
        assert arguments[arguments.index("--version") + 1] == VERSIONS["certManager"]["version"]
