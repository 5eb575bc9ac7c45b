"""Compares manifests with the services' migrations: who stores has some, and nobody else."""

from collections.abc import Iterator
from pathlib import Path

from services.manifest import FILE, Manifests


def problems(root: Path, manifests: Manifests) -> Iterator[str]:
    """Return a line for each service of the checkout at `root` of which that is not true."""
    for name, manifest in manifests.items():
        folder = f"services/{name}/migrations/versions"
        found = any((root / folder).glob("*.py"))
        if found != manifest.stores:
            says, there = ("true", "no migration") if manifest.stores else ("false", "migrations")
            yield f"services/{name}/{FILE}: stores: is {says}, and {folder} has {there}"
