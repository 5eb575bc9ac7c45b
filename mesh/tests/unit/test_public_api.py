"""Pins the public surface: names, signatures and settings. A change of public_api.txt is a change for users.

After a change that is meant: `python -m tests.unit.test_public_api > tests/unit/public_api.txt` in mesh/, and
an entry in CHANGELOG.md (docs/stability.md says which version it needs).
"""

import dataclasses
import importlib.metadata
import inspect
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import grpcmesh
from grpcmesh import call, errors, service_config
from grpcmesh.config import MeshConfig

PINNED = Path(__file__).with_name("public_api.txt")
MESH = Path(__file__).parents[2]


def signature(function: Any) -> str:
    """Return names, kinds and defaults of the parameters. Annotations print differently in each Python."""
    found = inspect.signature(function)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def members(cls: type, called: str) -> Iterator[str]:
    """Yield the constructor, and all public members that the library itself defines. `called`: its name."""
    constructor = cls.__init__ is not object.__init__ and not getattr(cls, "_is_protocol", False)
    yield called + (signature(cls) if constructor else "")
    for name in sorted(name for name in dir(cls) if not name.startswith("_")):
        definer = next(base for base in cls.__mro__ if name in vars(base))
        if not definer.__module__.startswith("grpcmesh"):
            continue  # of Exception or of typing
        value = vars(definer)[name]
        function = getattr(value, "__func__", value)
        described = signature(function) if inspect.isfunction(function) else ""
        yield f"{called}.{name}{described}"


def settings(cls: type, prefix: str = "MESH") -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        variable = f"{prefix}_{field.name.upper()}"
        if dataclasses.is_dataclass(hints[field.name]):
            yield from settings(hints[field.name], variable)
        else:
            yield variable


def surface() -> Iterator[str]:
    for name in grpcmesh.__all__:
        value = getattr(grpcmesh, name)
        if name == "__version__":
            continue
        if name == "MeshConfig":
            yield name  # its fields are the settings below
        elif isinstance(value, type):
            yield from members(value, name)
        else:
            yield f"{name}{signature(value)}"
    for name, error in sorted(vars(errors).items()):
        if isinstance(error, type) and error.__module__ == errors.__name__:
            yield f"errors.{name}{signature(error)}"


def growing() -> Iterator[str]:
    """Yield what may get additions without a change of the pin: fields that layers read, and settings."""
    for module in (call, service_config):
        for name, cls in sorted(vars(module).items()):
            if isinstance(cls, type) and cls.__module__.startswith(module.__name__):
                _, *fields = members(cls, f"{module.__name__}.{name}")
                yield from fields
    yield from sorted(settings(MeshConfig))


def pinned() -> tuple[list[str], set[str]]:
    """Return the pinned lines of `surface` and of `growing`."""
    lines = PINNED.read_text().splitlines()
    grow = ("MESH_", "grpcmesh.")
    return [x for x in lines if not x.startswith(grow)], {x for x in lines if x.startswith(grow)}


def test_the_public_surface_is_as_pinned() -> None:
    assert list(surface()) == pinned()[0]


def test_no_field_and_no_setting_has_gone() -> None:
    # New settings need no change here: test_config.py has them all, with their defaults.
    assert sorted(pinned()[1] - set(growing())) == []


def test_every_public_name_is_exported_and_documented() -> None:
    reference = (MESH / "docs" / "stability.md").read_text()
    for name in grpcmesh.__all__:
        assert getattr(grpcmesh, name) is not None
        assert f"`{name}`" in reference
    assert set(grpcmesh.__all__) <= set(dir(grpcmesh))


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="'grpcmesh' has no attribute 'Mash'"):
        grpcmesh.Mash  # noqa: B018


def test_the_version_is_that_of_the_distribution_and_of_the_changelog() -> None:
    """The distribution takes its version from the package, so it cannot have another one."""
    pyproject = tomllib.loads((MESH / "pyproject.toml").read_text())
    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "grpcmesh.__version__"}
    assert importlib.metadata.version("grpcmesh") == grpcmesh.__version__
    assert f"## {grpcmesh.__version__}" in (MESH / "CHANGELOG.md").read_text()


def test_importing_the_library_imports_nothing_else_and_sets_what_grpc_reads() -> None:
    program = (
        "import grpcmesh, os, sys; assert 'grpc' not in sys.modules, 'grpc';"
        "assert os.environ['GRPC_ENABLE_FORK_SUPPORT'] == '0'; from grpcmesh import Mesh, run;"
        "from grpcmesh import grpc_environment as e; assert e.tls13_only and not e.imported_first"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={})


def test_a_client_does_not_import_what_only_servers_need() -> None:
    program = (
        "import sys; from grpcmesh import Mesh; mesh = Mesh.from_env('web', {'MESH_PLAINTEXT': 'true'});"
        "mesh.sync_channel('greeter'); print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", program], env={}, text=True).split()
    parts = {name.split(".")[1] for name in loaded if name.startswith("grpcmesh.")}
    assert "member" in parts
    assert not parts & {"lifecycle", "server", "server_side", "authz", "auth", "fault", "runtime", "ca"}


if __name__ == "__main__":
    print(*surface(), *growing(), sep="\n")
