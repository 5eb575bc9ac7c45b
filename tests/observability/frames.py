"""Runs the transformations of a panel through Grafana's own code (@grafana/data), in Node."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

#: What tools/install-grafana-data has installed.
INSTALLED = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "meshmart" / "grafana-data"
_SCRIPT = Path(__file__).parent / "grafana" / "transform.cjs"

Frame = dict[str, Any]
Vector = Sequence[Mapping[str, Any]]
"""An instant answer of Prometheus: series with `metric` and `value`."""


def answered(ref: str, vector: Vector, queries: int) -> Frame:
    """Return the frame that Grafana makes of Prometheus's answer to a query whose format is a table.

    Source: `transformDFToTable` in Grafana's packages/grafana-prometheus/src/result_transformer.ts.

    Args:
        ref: The query's refId.
        vector: The answer.
        queries: How many queries the panel has.
    """
    labels = sorted({name for series in vector for name in series["metric"]})
    columns = [{"name": "Time", "type": "time", "values": [series["value"][0] * 1000 for series in vector]}]
    for name in labels:
        values = [series["metric"].get(name, "") for series in vector]
        columns.append({"name": name, "type": "string", "values": values})
    numbers = [_number(series["value"][1]) for series in vector]
    value = f"Value #{ref}" if queries > 1 else "Value"
    return {"refId": ref, "fields": [*columns, {"name": value, "type": "number", "values": numbers}]}


def _number(text: str) -> float | None:
    """JSON has no NaN."""
    return None if text == "NaN" else float(text)


def transformed(
    panel: Mapping[str, Any], answers: Mapping[str, Vector]
) -> tuple[list[Frame], dict[str, str]]:
    """Return the frames that a panel draws, and Grafana's names of a node graph's fields.

    Args:
        panel: A panel with transformations.
        answers: What Prometheus answers to each of its queries.
    """
    _require()
    frames = [answered(ref, vector, len(answers)) for ref, vector in answers.items()]
    given = json.dumps({"transformations": panel["transformations"], "frames": frames})
    environment = os.environ | {"NODE_PATH": str(INSTALLED / "node_modules")}
    # Loading the library takes seconds on a busy machine.
    done = subprocess.run(
        ["node", str(_SCRIPT)], input=given, capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["frames"], found["names"]


def rows(frame: Frame, by: str = "name") -> list[dict[str, Any]]:
    """Return the rows of a frame; `by` is `shown` for the names that a table shows."""
    names = [field[by] for field in frame["fields"]]
    return [
        dict(zip(names, row, strict=True))
        for row in zip(*(f["values"] for f in frame["fields"]), strict=True)
    ]


def _require() -> None:
    problem = ""
    if shutil.which("node") is None:
        problem = "Node is not installed; on Debian: apt install nodejs npm"
    elif not (INSTALLED / "node_modules" / "@grafana" / "data").exists():
        problem = f"Grafana's library is not installed: tools/install-grafana-data {INSTALLED}"
    if problem:
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)
