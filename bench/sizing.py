"""What a replica of each service takes: memory at rest and under load, CPU under load.

    meshmart up --detach
    python bench/sizing.py [--state-dir .meshmart] [--scenario mix] [--rps 20] [--duration 60s] [--json]

Reads /proc of the replicas of a running embedded cluster (Linux). Memory is the proportional set size, which
counts a shared page once over all who share it, and beside it the resident set, which is what a container
is charged with when it shares nothing. CPU is user plus system time of the replicas of a service, spread over
them; that of whoever makes the load is not in it. A replica's limit on Kubernetes needs room above these.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshmart.embedded import EmbeddedCluster

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reading:
    """One process at one time: MiB and seconds."""

    proportional: float
    resident: float
    cpu: float


@dataclass(frozen=True)
class Row:
    """A service: MiB a replica (the largest), and millicores a replica under the load."""

    service: str
    replicas: int
    rest_proportional: float
    rest_resident: float
    loaded_resident: float
    millicores: float


def read(pid: int) -> Reading:
    """A process's memory and the CPU time it has had."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(after_name[11]) + int(after_name[12])) / _TICKS
    return Reading(kilobytes["Pss"] / 1024, kilobytes["Rss"] / 1024, seconds)


def pids(state_dir: Path) -> dict[str, list[int]]:
    """The replicas' processes by service."""
    status = asyncio.run(EmbeddedCluster(state_dir).status())
    running = {
        name: [r["pid"] for r in row["replicas"] if r["pid"]] for name, row in status["services"].items()
    }
    return {name: each for name, each in running.items() if each}


def load(options: argparse.Namespace) -> dict[str, Any]:
    """Runs the load; its report."""
    command = [sys.executable, "-m", "meshmart", "load", "--json", "--state-dir", str(options.state_dir)]
    command += ["--scenario", options.scenario, "--rps", str(options.rps), "--duration", options.duration]
    # Its exit status tells that a call failed; the report counts those.
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def rows(
    before: Mapping[str, list[Reading]], after: Mapping[str, list[Reading]], seconds: float
) -> list[Row]:
    """The table: what rest and load took."""
    return [
        Row(
            service,
            len(rest),
            max(each.proportional for each in rest),
            max(each.resident for each in rest),
            max(each.resident for each in after[service]),
            1000
            * sum(b.cpu - a.cpu for a, b in zip(rest, after[service], strict=True))
            / seconds
            / len(rest),
        )
        for service, rest in before.items()
    ]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--state-dir", type=Path, default=Path(".meshmart"))
    parser.add_argument("--scenario", default="mix")
    parser.add_argument("--rps", type=float, default=20)
    parser.add_argument("--duration", default="60s")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    processes = pids(options.state_dir)
    before = {service: [read(pid) for pid in each] for service, each in processes.items()}
    started = time.monotonic()
    report = load(options)
    after = {service: [read(pid) for pid in each] for service, each in processes.items()}
    table = rows(before, after, time.monotonic() - started)
    if options.json:
        print(json.dumps({"load": report, "services": [vars(each) for each in table]}, indent=2))
    else:
        show(table, report)


def show(table: list[Row], report: Mapping[str, Any]) -> None:
    """For a person."""
    print(f"{report['calls']} calls, {report['rate']:.0f}/s, {report['errors']} errors")
    print(f"{'service':<14}{'replicas':>9}{'rest PSS':>10}{'rest RSS':>10}{'load RSS':>10}{'millicores':>12}")
    for row in table:
        memory = f"{row.rest_proportional:>10.0f}{row.rest_resident:>10.0f}{row.loaded_resident:>10.0f}"
        print(f"{row.service:<14}{row.replicas:>9}{memory}{row.millicores:>12.0f}")
    whole = sum(row.replicas * row.rest_proportional for row in table)
    print(f"{'all':<14}{sum(row.replicas for row in table):>9}{whole:>10.0f}")


if __name__ == "__main__":
    main()
