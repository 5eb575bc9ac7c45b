"""The files of a service, and how a change of them that fails is undone."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template

from meshmart.errors import CommandError

TEMPLATES = Path(__file__).parent / "templates"
#: The templates of a service's files, by the file's path; NAME is the service's name. The manifest is written
#: first, so that `remove` knows a service whose `new` was killed.
_FILES = {
    "services/NAME/service.toml": "service.toml",
    "protos/ecommerce/NAME.proto": "proto",
    "services/NAME/__init__.py": "package",
    "services/NAME/domain.py": "domain",
    "services/NAME/tables.py": "tables",
    "services/NAME/storage.py": "storage",
    "services/NAME/servicer.py": "servicer",
    "services/NAME/main.py": "main",
    "services/NAME/seed.py": "seed",
    "services/NAME/migrations/versions/0001_texts.py": "migration",
    "tests/unit/services/NAME/__init__.py": "",
    "tests/unit/services/NAME/test_texts.py": "unit_test",
    "tests/integration/services/test_NAME.py": "integration_test",
}
#: What belongs to a service, as patterns of paths. The manifest's directory is deleted last, so that a
#: `remove` that was killed can be repeated.
_OWNED = (
    "tests/unit/services/NAME",
    "tests/integration/services/test_NAME.py",
    "protos/ecommerce/NAME.proto",
    "protos/ecommerce/NAME_pb2*",
    "services/NAME",
)
#: What the generators write that follows from all manifests.
GENERATED = (
    "docs/methods.md",
    "helm/meshmart/files/policy.toml",
    "helm/meshmart/templates/_shop.tpl",
    "helm/meshmart/values.yaml",
    "pyproject.toml",
    "services/policy.toml",
)


def render(name: str, subnet: int) -> Mapping[Path, str]:
    """Return the files of a new service, by path relative to the root of the checkout."""
    values = {"name": name, "Name": name.capitalize(), "subnet": str(subnet)}
    return {
        Path(path.replace("NAME", name)): _template(template).substitute(values) if template else ""
        for path, template in _FILES.items()
    }


def write(root: Path, texts: Mapping[Path, str]) -> None:
    """Write files, by path relative to the root of the checkout."""
    for path, text in texts.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def owned(root: Path, name: str) -> list[Path]:
    """Return the files and directories that belong to a service."""
    return [path for pattern in _OWNED for path in root.glob(pattern.replace("NAME", name))]


def delete(paths: list[Path]) -> None:
    """Delete files, and directories with all that is in them."""
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Let no other command change services of this checkout meanwhile.

    Raises:
        CommandError: another command does.
    """
    directory = os.open(root / "services", os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"another command changes services of {root}; wait until it ends") from None
        yield
    finally:
        os.close(directory)


@contextmanager
def restored_on_failure(root: Path, name: str) -> Iterator[None]:
    """Restore a service's files and the generated ones if the block raises, or Ctrl-C ends it."""
    paths = [*owned(root, name), *(root / path for path in GENERATED)]
    every = (file for path in paths for file in (path, *path.rglob("*")) if file.is_file())
    before = {file: file.read_bytes() for file in every}
    try:
        yield
    except BaseException:
        delete(owned(root, name))
        for file, content in before.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        raise


def _template(name: str) -> Template:
    return Template((TEMPLATES / f"{name}.tmpl").read_text(encoding="utf-8"))
