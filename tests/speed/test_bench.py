"""`make bench` runs: each way to call answers, and has its line in the table."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_of_the_overhead_measures_every_variant() -> None:
    command = [sys.executable, "bench/overhead.py", "--rounds", "2", "--calls", "16", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for variant in ("bare", "bare+tls", "round_robin", "pick", "full", "full+log"):
        assert f'"{variant}"' in done.stdout
