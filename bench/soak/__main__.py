"""`python -m bench.soak`: see the package."""

import argparse
import asyncio
import json
import random
import sys
from pathlib import Path

import bench.soak
from bench.soak import report
from bench.soak.run import Plan, Run, out_files
from bench.soak.world import world
from local.options import parse_duration

#: Seconds that a run may last.
LONGEST = 24 * 3600.0


def main() -> int:
    """Run, and return the exit status: 0 if every bound was kept, else 1."""
    parser = argparse.ArgumentParser(
        description=bench.soak.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--duration", type=parse_duration, default="1h", help="such as 10m")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1 << 30), help="of the disturbances and the load"
    )
    parser.add_argument("--rate", type=float, default=3.0, help="journeys a second")
    parser.add_argument("--every", type=float, default=12.0, help="average seconds between disturbances")
    parser.add_argument("--sample-every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--out", type=Path, default=Path("build/soak"), help="directory of the results")
    options = vars(parser.parse_args())
    out: Path = options.pop("out")
    plan = Plan(**options)
    if (
        not 60 <= plan.duration <= LONGEST
        or not 0 < plan.rate <= 50
        or plan.every <= 0
        or plan.sample_every <= 0
    ):
        parser.error("--duration must be from 1m to 24h, --rate above 0 and at most 50, the others above 0")
    out.mkdir(parents=True, exist_ok=True)
    print(f"seed {plan.seed}, {plan.duration:g} s, results in {out}", flush=True)
    return 0 if _run(plan, out) else 1


def _run(plan: Plan, out: Path) -> bool:
    files = out_files(out)
    with world() as shop, files["rows"].open("w+", encoding="utf-8") as rows:
        run = Run(shop, plan, rows, lambda line: print(line, flush=True))
        verdict = asyncio.run(run())
    files["summary"].write_text(
        json.dumps(report.summary(run), indent=2, default=sorted) + "\n", encoding="utf-8"
    )
    files["plot"].write_text(report.plot(run), encoding="utf-8")
    print(report.text(run))
    return verdict.kept


if __name__ == "__main__":
    sys.exit(main())
