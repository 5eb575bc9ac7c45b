"""Writes the files. With `--check` it only checks whether they are current (exit status 1 if not)."""

import sys
from collections.abc import Mapping
from pathlib import Path

from services import manifest
from services.manifest import ManifestError, Manifests
from tools.manifests import chart, contracts, policy, proto, storage

ROOT = Path(__file__).parents[2]


def files(root: Path, manifests: Manifests) -> Mapping[Path, str]:
    """Return the expected content of each file of the checkout at `root`."""
    authorization = policy.render(manifests)
    chart_root, values, project = (
        root / "helm/meshmart",
        root / "helm/meshmart/values.yaml",
        root / "pyproject.toml",
    )
    return {
        root / "services/policy.toml": authorization,
        # Helm reads no file outside its chart.
        chart_root / "files/policy.toml": authorization,
        chart_root / "templates/_shop.tpl": chart.shop(manifests),
        values: chart.values(values.read_text(encoding="utf-8"), manifests),
        project: contracts.render(project.read_text(encoding="utf-8"), manifests),
    }


def stale(root: Path, manifests: Manifests) -> list[Path]:
    """Return the files whose content differs."""
    expected = files(root, manifests).items()
    return [p for p, text in expected if not p.exists() or p.read_text(encoding="utf-8") != text]


def main(arguments: list[str]) -> int:
    """Return the exit status: 0, or 1 if a manifest is wrong or, with `--check`, if a file is not current."""
    try:
        manifests = manifest.load(ROOT / "services")
    except ManifestError as e:
        return _fail(str(e))
    if problems := [*proto.problems(manifests), *storage.problems(ROOT, manifests)]:
        return _fail("\n".join(problems))
    if "--check" in arguments:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale(ROOT, manifests))
        return _fail(f"run make manifests; not current: {names}") if names else 0
    for path in stale(ROOT, manifests):
        path.write_text(files(ROOT, manifests)[path], encoding="utf-8")
    return 0


def _fail(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
