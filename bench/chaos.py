"""Orders while random replicas of every service are killed, and whether the books balance after it.

    python bench/chaos.py [--orders 2000] [--kill-every 2] [--workers 6] [--state-dir DIR]

Without --state-dir it starts a shop of its own, on SQLite or on MESHMART_DATABASE_URL, and takes it down.
Exits 1 where an accepted order is lost or doubled, or the books do not add up.
"""

import argparse
import asyncio
import contextlib
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from meshmart.audit import audited, show
from meshmart.chaos import Killer, Storm, order_many, victims
from meshmart.embedded import EmbeddedCluster
from meshmart.operator import join
from services.loadgen.shop import Shop

#: Seconds that the books may take to settle after the last kill.
SETTLE = 120.0


@contextlib.contextmanager
def running(state_dir: Path | None) -> Iterator[Path]:
    """The state directory of a running cluster: the one given, or a new one that is gone at the end."""
    if state_dir is not None:
        yield state_dir
        return
    with tempfile.TemporaryDirectory(prefix="meshmart-chaos-") as directory, socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()
        environ = {"MESHMART_LOOPBACK": f"127.{random.randrange(100, 250)}", **os.environ}
        command = [sys.executable, "-m", "meshmart"]
        own = ["--state-dir", directory]
        try:
            subprocess.run([*command, "up", "--detach", "--port", str(port), *own], check=True, env=environ)
            yield Path(directory)
        finally:
            subprocess.run([*command, "down", *own], check=False, stderr=subprocess.DEVNULL)


async def run(state_dir: Path, orders: int, kill_every: float, workers: int, seed: int) -> bool:
    """Prints what happens; whether all is well."""
    cluster, rng = EmbeddedCluster(state_dir), random.Random(seed)
    killer = Killer(cluster, await victims(cluster), kill_every, rng)
    shown = time.monotonic()

    def progress(storm: Storm) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= 5 or len(storm.asked) == storm.wanted:
            shown = now
            retried = sum(a.attempts > 1 for a in storm.asked)
            print(
                f"{now - storm.started:5.0f} s: {len(storm.asked)} of {storm.wanted} orders answered, "
                f"{retried} of them asked again, {killer.kills.total()} kills",
                flush=True,
            )

    async with join(state_dir) as joined, killer:
        shop = Shop(joined.member.channel, rng)
        storm = await order_many(shop, orders, workers=workers, progress=progress)
    verdict, books = await audited(state_dir / "data", os.environ, SETTLE)
    tell(storm, killer)
    show(verdict)
    astray = storm.astray(books)
    for line in astray[:20]:
        print(f"ASTRAY {line}")
    return verdict.settled and not astray and len(storm.accepted) == storm.wanted


def tell(storm: Storm, killer: Killer) -> None:
    """The figures of the run."""
    seconds = sorted(a.seconds for a in storm.asked)
    p50, p99 = statistics.median(seconds), seconds[int(len(seconds) * 0.99)]
    kills = ", ".join(f"{service} {count}" for service, count in killer.kills.most_common())
    print(f"\n{storm.wanted} orders in {storm.seconds:.0f} s ({storm.wanted / storm.seconds:.1f}/s)")
    print(f"accepted {len(storm.accepted)}; until the answer p50 {p50:.2f} s, p99 {p99:.2f} s")
    for asked in [a for a in storm.asked if not a.accepted][:10]:
        print(f"not accepted: {asked.answer}")
    print(f"{killer.kills.total()} kills: {kills}\n")


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--kill-every", type=float, default=2.0, help="seconds, on average")
    parser.add_argument("--workers", type=int, default=6, help="orders at a time")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--state-dir", type=Path, help="of a cluster that runs")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with running(options.state_dir) as state_dir:
        work = run(state_dir, options.orders, options.kill_every, options.workers, options.seed)
        return 0 if asyncio.run(work) else 1


if __name__ == "__main__":
    sys.exit(main())
