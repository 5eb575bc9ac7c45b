"""Measures a replica of each service: memory at rest and under load, CPU under load.

    meshmart up --detach
    python -m bench.sizing [--state-dir .meshmart] [--scenario mix] [--rps 20] [--duration 60s] [--json]

It reads /proc of the replicas of a running embedded cluster (Linux). Memory is the proportional set size,
which counts a shared page once over all processes that share it, and the resident set, which a container is
charged with if it shares nothing. CPU is user plus system time per replica of a service, without the load
generator's. A replica's limit on Kubernetes needs room above these.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import Reading, read
from meshmart.embedded import EmbeddedCluster


@dataclass(frozen=True)
class Row:
    """The figures of a service: MiB of its largest replica, and millicores per replica under the load."""

    service: str
    replicas: int
    rest_proportional: float
    rest_resident: float
    loaded_resident: float
    millicores: float


def pids(state_dir: Path) -> dict[str, list[int]]:
    """Return the process ids of the replicas by service."""
    status = asyncio.run(EmbeddedCluster(state_dir).status())
    running = {
        name: [r["pid"] for r in row["replicas"] if r["pid"]] for name, row in status["services"].items()
    }
    return {name: each for name, each in running.items() if each}


def load(options: argparse.Namespace) -> dict[str, Any]:
    """Run the load, and return its report."""
    command = [sys.executable, "-m", "meshmart", "load", "--json", "--state-dir", str(options.state_dir)]
    command += ["--scenario", options.scenario, "--rps", str(options.rps), "--duration", options.duration]
    # Its exit status says that a call failed; the report counts them.
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def rows(
    before: Mapping[str, list[Reading]], after: Mapping[str, list[Reading]], seconds: float
) -> list[Row]:
    """Return the table with the figures at rest and under load."""
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
    """Measure and print."""
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
    """Print the table for a person."""
    print(f"{report['calls']} calls, {report['rate']:.0f}/s, {report['errors']} errors")
    print(f"{'service':<14}{'replicas':>9}{'rest PSS':>10}{'rest RSS':>10}{'load RSS':>10}{'millicores':>12}")
    for row in table:
        memory = f"{row.rest_proportional:>10.0f}{row.rest_resident:>10.0f}{row.loaded_resident:>10.0f}"
        print(f"{row.service:<14}{row.replicas:>9}{memory}{row.millicores:>12.0f}")
    whole = sum(row.replicas * row.rest_proportional for row in table)
    print(f"{'all':<14}{sum(row.replicas for row in table):>9}{whole:>10.0f}")


if __name__ == "__main__":
    main()
