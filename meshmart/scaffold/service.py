"""Adds a service to a checkout of this project, and removes one."""

import os
import subprocess
import sys
from pathlib import Path

from meshmart.errors import CommandError
from meshmart.scaffold.files import delete, locked, owned, render, restored_on_failure, write
from meshmart.scaffold.names import check
from meshmart.scaffold.uses import users
from services.manifest import MAX_SUBNET, ManifestError, Manifests, load

#: As in the Makefile.
_PROTOC = (
    "-Iprotos",
    "--python_out=protos",
    "--pyi_out=protos",
    "--grpc_python_out=protos",
    "--mypy_grpc_out=quiet,only_async,generate_concrete_servicer_stubs:protos",
)


def checkout(directory: Path) -> Path:
    """Return the root of the checkout around a directory.

    Raises:
        CommandError: there is none.
    """
    for root in (directory.resolve(), *directory.resolve().parents):
        if (root / "services/manifest.py").is_file() and (root / "Makefile").is_file():
            return root
    raise CommandError(f"{directory} is not in a checkout of this project, whose files this command changes")


def add(root: Path, name: str) -> list[Path]:
    """Write the files of a new service, then generate what follows from its proto and its manifest.

    All or nothing: a failure leaves the checkout as it was.

    Returns:
        The files that were written, relative to the root.

    Raises:
        CommandError: the name is taken or cannot be a service's, a manifest is wrong, another command changes
            services, or the generators fail.
    """
    with locked(root):
        manifests = _manifests(root)
        check(root, name)
        texts = render(name, _subnet(manifests))
        with restored_on_failure(root, name):
            write(root, texts)
            _format(root, [str(path) for path in texts if path.suffix == ".py"])
            _generate(root, f"protos/ecommerce/{name}.proto")
    return list(texts)


def remove(root: Path, name: str) -> list[Path]:
    """Delete a service's folder, tests and proto, then generate what follows from the other manifests.

    All or nothing: a failure leaves the checkout as it was.

    Returns:
        What was deleted, relative to the root.

    Raises:
        CommandError: there is no such service, another one calls it or imports its proto, a manifest is
            wrong, another command changes services, or the generators fail.
    """
    with locked(root):
        manifests = _manifests(root)
        if name not in manifests:
            raise CommandError(f"there is no service {name!r}; there are {', '.join(manifests)}")
        if used := sorted(users(root, name, manifests)):
            raise CommandError(f"{name} is still used: {', '.join(used)}; remove these uses first")
        paths = owned(root, name)
        with restored_on_failure(root, name):
            delete(paths)
            _generate(root)
    return [path.relative_to(root) for path in paths]


def _subnet(manifests: Manifests) -> int:
    """Return the first subnet after those of the others. Raises CommandError if there is none."""
    used = {manifest.subnet for manifest in manifests.values()}
    free = (number for number in range(max(used, default=0) + 1, MAX_SUBNET + 1) if number not in used)
    if (subnet := next(free, None)) is None:
        raise CommandError(f"no embedded.subnet above those of the manifests is free, up to {MAX_SUBNET}")
    return subnet


def _manifests(root: Path) -> Manifests:
    try:
        return load(root / "services")
    except ManifestError as e:
        raise CommandError(str(e)) from None


def _format(root: Path, files: list[str]) -> None:
    """Sort imports and wrap lines, which depend on the service's name."""
    _run(root, "-m", "ruff", "check", "--no-cache", "--quiet", "--fix-only", *files)
    _run(root, "-m", "ruff", "format", "--no-cache", "--quiet", *files)


def _generate(root: Path, *protos: str) -> None:
    """Generate the code of protos, and what follows from the manifests: `make proto manifests`, without its
    installation of packages.

    Raises:
        CommandError: a generator fails.
    """
    for proto in protos:
        _run(root, "-m", "grpc_tools.protoc", *_PROTOC, proto)
    _run(root, "-m", "tools.manifests")
    _run(root, "tools/methods-table")


def _run(root: Path, *arguments: str) -> None:
    """Run Python in the checkout, with the plugins of protoc that lie beside it."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    environ = {**os.environ, "PATH": path}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stderr or done.stdout).strip()
        raise CommandError(f"{' '.join(arguments)} failed in {root} (has `make setup-dev` run?): {told}")
