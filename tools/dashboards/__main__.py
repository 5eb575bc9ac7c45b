"""Writes the dashboards. With `--check` it only checks whether they are current (exit status 1 if not)."""

import sys
from collections.abc import Mapping
from pathlib import Path

from tools.dashboards.database import DATABASE
from tools.dashboards.identity import IDENTITY
from tools.dashboards.mesh import MESH
from tools.dashboards.overview import OVERVIEW
from tools.dashboards.render import render
from tools.dashboards.resilience import RESILIENCE
from tools.dashboards.service import SERVICE
from tools.dashboards.shop import SHOP

TARGET = Path(__file__).parents[2] / "helm" / "meshmart" / "dashboards"
_ALL = (OVERVIEW, MESH, RESILIENCE, SERVICE, IDENTITY, DATABASE, SHOP)
BOARDS = {board.uid.removeprefix("meshmart-"): board for board in _ALL}


def files() -> Mapping[Path, str]:
    """Return the expected content of each file."""
    return {TARGET / f"{name}.json": render(board) for name, board in BOARDS.items()}


def stale() -> list[Path]:
    """Return the files whose content differs."""
    return [p for p, text in files().items() if not p.exists() or p.read_text(encoding="utf-8") != text]


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(f"run python -m tools.dashboards: {', '.join(p.name for p in stale())}" if stale() else 0)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
