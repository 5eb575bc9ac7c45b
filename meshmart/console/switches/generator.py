"""`python -m meshmart.console.switches.generator`: the process that makes the console's load.

It ends when its time is over, or when its standard input ends, because then the console that started it has
ended. It writes a line of JSON each second, and a line with `error` if it cannot make the load.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.errors import ClusterError
from meshmart.errors import CommandError
from meshmart.load import check_scenario, generate
from services.kit.streaming import first_of

if TYPE_CHECKING:
    from services.loadgen.report import Report


def main() -> int:
    """Parse the command line and make the load. Exit status 1: it cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--scenario", required=True)
    parser.add_argument("--rps", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    try:
        asyncio.run(_until_input_ends(_generate(options)))
    except (ClusterError, CommandError) as e:
        _say({"error": str(e)})
        return 1
    return 0


async def _generate(options: argparse.Namespace) -> None:
    from meshmart.operator import join

    check_scenario(options.scenario)
    async with join(options.state_dir) as joined:
        await generate(joined.member, options.scenario, options.rps, options.seconds, _progress)


async def _progress(report: "Report") -> None:
    _say({"calls": len(report.samples), "errors": report.errors, "dropped": report.dropped})


async def _until_input_ends(work: Any) -> None:
    """Run a coroutine until standard input ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await first_of(work, reader.read())


def _say(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
