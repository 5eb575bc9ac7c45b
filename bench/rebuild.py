"""Measures what a call costs in two trees of this project, in turns: the code before a change, and after it.

    git worktree add /tmp/before a8def03
    python bench/rebuild.py /tmp/before [.] [--rounds 30] [--seconds 1] [--starts 3] [--python P] [--json]

Each tree plays the variant `full+log` of its own `bench/overhead.py`, the whole stack as it is configured by
default: a client process and a server process, with the Python and the packages that run this script, or for
the tree before with those of `--python`, a virtual environment's with the packages that it pinned. Short
rounds alternate between the trees, and only the ratio within a pair of rounds counts, so that it hardly
matters what else the machine does. CPU is user plus system time, all threads. Both trees are started anew
`--starts` times, because the place of code in memory alone moves a figure by a percent or two.
"""

import argparse
import asyncio
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from intervals import interval

SIDES = ("client", "server", "both")
VARIANT = "full+log"
#: Calls before the first round that counts: connections, caches, the interpreter's specializations.
WARM_UP = 1000
CONCURRENCY = 8

Round = dict[str, float]


# -- the client process of one tree -------------------------------------------------------------


def overhead_of(tree: Path) -> Any:
    """Load the tree's own bench/overhead.py."""
    spec = importlib.util.spec_from_file_location("overhead", tree / "bench/overhead.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["overhead"] = module
    spec.loader.exec_module(module)
    return module


async def play(tree: Path) -> None:
    """Run a round for each line of standard input, which is its number of seconds. Print the cost of each."""
    bench = overhead_of(tree)
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench.prepare(directory)
        peer = bench.Peer.start(VARIANT, directory, "uvloop")
        stack.callback(peer.stop)
        channel = await bench.mesh_channel([peer], directory, stack, full=True)
        stack.push_async_callback(channel.close)
        call = caller(bench, directory, channel)
        await calls(call, math.inf, WARM_UP)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(await cost(call, peer, float(line))), flush=True)


def caller(bench: Any, directory: Path, channel: Any) -> Any:
    """Return a function that makes one call, with a user's token."""
    issuer = bench.TokenIssuer(bench.signing_key(directory), "bench", bench.config(directory, "user").auth)
    metadata = (("authorization", f"Bearer {issuer.issue(1, 'alice', ['user'], 3600)}"),)
    get, request = bench.ProductServiceStub(channel).GetProduct, bench.REQUEST
    return lambda: get(request, timeout=5, metadata=metadata)


async def calls(call: Any, seconds: float, most: float = math.inf) -> int:
    """Make calls, `CONCURRENCY` at a time, for `seconds` seconds or up to `most` calls. Return how many."""
    made, until = 0, time.monotonic() + seconds

    async def worker() -> None:
        nonlocal made
        while made < most and time.monotonic() < until:
            made += 1
            await call()

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return made


async def cost(call: Any, peer: Any, seconds: float) -> Round:
    """Return the CPU seconds per call of each side."""
    server, client = peer.cpu(), time.process_time()
    made = await calls(call, seconds)
    client, server = time.process_time() - client, peer.cpu() - server
    return {"client": client / made, "server": server / made, "both": (client + server) / made}


# -- both trees in turns ------------------------------------------------------------------------


class Tree:
    """The running client of a tree."""

    def __init__(self, path: Path, python: str) -> None:
        places = [path, path / "mesh/src", path / "protos"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
        self._process = subprocess.Popen(
            [python, __file__, "--play", str(path)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def round(self, seconds: float) -> Round:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a client has ended; its error stands above")
        found: Round = json.loads(line)
        return found

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


def pairs(old: Tree, new: Tree, rounds: int, seconds: float) -> list[tuple[Round, Round]]:
    """Play rounds in turns, and stop both trees: the one that begins changes from pair to pair."""
    found: list[tuple[Round, Round]] = []
    try:
        for n in range(rounds + 1):
            if n % 2:
                first = old.round(seconds)
                found.append((first, new.round(seconds)))
            else:
                first = new.round(seconds)
                found.append((old.round(seconds), first))
            print(f"\rpair {n} of {rounds}", end="", file=sys.stderr, flush=True)
    finally:
        old.stop()
        new.stop()
    print(file=sys.stderr)
    return found[1:]  # the first pair is a warm-up


def summary(found: list[tuple[Round, Round]]) -> dict[str, dict[str, Any]]:
    """Return for each side the µs per call before and after, the median of the ratios, and its interval."""
    rows: dict[str, dict[str, Any]] = {}
    for side in SIDES:
        ratios = [new[side] / old[side] for old, new in found]
        rows[side] = {
            "before_us": round(statistics.median(old[side] for old, _ in found) * 1e6, 1),
            "after_us": round(statistics.median(new[side] for _, new in found) * 1e6, 1),
            "ratio": round(statistics.median(ratios), 3),
            "interval": [round(bound, 3) for bound in interval(ratios)],
        }
    return rows


def show(rows: dict[str, dict[str, Any]], count: int) -> None:
    print(f"{'CPU per call':<13} {'before':>9} {'after':>9} {'ratio':>7}  95 % interval ({count} pairs)")
    for side, row in rows.items():
        low, high = row["interval"]
        print(
            f"{side:<13} {row['before_us']:>6} us {row['after_us']:>6} us {row['ratio']:>7.3f}  "
            f"{low:.3f} to {high:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("before", type=Path, nargs="?", help="work tree of the code to compare with")
    parser.add_argument("after", type=Path, nargs="?", default=Path(__file__).parent.parent)
    parser.add_argument("--rounds", type=int, default=10, help="pairs of rounds per start")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one round")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="interpreter of the tree before")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--play", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.play:
        import uvloop

        uvloop.run(play(args.play))
        return
    if args.before is None:
        parser.error("the tree before is missing")
    found: list[tuple[Round, Round]] = []
    for _ in range(args.starts):
        old, new = Tree(args.before.resolve(), args.python), Tree(args.after.resolve(), sys.executable)
        found += pairs(old, new, args.rounds, args.seconds)
    rows = summary(found)
    if args.json:
        print(json.dumps({"pairs": len(found), **rows}, indent=2))
    else:
        show(rows, len(found))


if __name__ == "__main__":
    main()
