"""The soak itself, a minute and a half of it: so that it does not rot."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.soak.verdict import MOST_STARVED
from tests.e2e.conftest import TIMEOUT, environment

ROOT = Path(__file__).parents[2]


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads memory and descriptors in /proc")
@pytest.mark.usefixtures("postgres")  # skips where it is not installed
def test_a_short_soak_keeps_its_bounds_and_shows_what_it_did(tmp_path: Path) -> None:
    settings = ("--duration", "75s", "--seed", "55", "--every", "6", "--rate", "2", "--out", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "bench.soak", *settings],
        capture_output=True,
        text=True,
        timeout=3 * TIMEOUT,
        env=environment(),
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    summary = json.loads((tmp_path / "soak.json").read_text())
    assert summary["books"]["settled"]
    if summary["starved"] <= MOST_STARVED:  # otherwise its bounds are not measured, and it says so
        assert done.returncode == 0, done.stdout
    assert summary["kept"] is (done.returncode == 0)
    assert set(summary["asked"]) == {"page", "browse", "search", "buy", "follow", "chat", "order"}
    assert set(summary["disturbances"]) == {"database", "rotate", "scale", "kill"}
    rows = [json.loads(line) for line in (tmp_path / "soak.jsonl").read_text().splitlines()]
    sampled = [row for row in rows if row["row"] == "sample"]
    processes = {row["process"] for row in sampled}
    assert {"product/1", "storefront/1", "supervisor", "driver"} <= processes
    assert all(row["tasks"] for row in sampled if row["process"] == "driver")
    assert any(row["tasks"] for row in sampled if row["process"] == "product/1")
    assert (tmp_path / "soak.svg").read_text().startswith("<svg")
