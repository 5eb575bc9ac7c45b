"""How long after `make demo` the map lives, with somebody who watches, and what the whole demo then costs.

    unshare -rn sh -c 'ip link set lo up; python -m bench.first_map'

It starts `meshmart up --load 3`, as `make demo` does, with a Chromium that asks for the console's page until
it is there. The demo uses fixed loopback addresses: a network namespace keeps it apart from another one.
Every wait has an end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import Error, Page, sync_playwright

from bench.processes import cpu_seconds, parent

CHROMIUM = os.environ.get("MESHMART_CHROMIUM", "/usr/bin/chromium")
CONSOLE = "http://127.0.0.1:8081"
#: Seconds that each wait may take.
PATIENCE = 600.0


@contextmanager
def demo(state: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the demo in a session of its own, and stop it at the end."""
    command = [sys.executable, "-m", "meshmart", "up", "--load", "3", "--state-dir", state]
    with subprocess.Popen(command, stdout=sys.stderr, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(PATIENCE)


def reached(page: Page) -> None:
    """Open the console's page as soon as it is there."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            page.goto(CONSOLE, wait_until="domcontentloaded")
            return
        except Error:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def cpu(process: subprocess.Popen[bytes]) -> dict[int, float]:
    """Return the seconds of CPU that each process of the demo has used, by its id."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for pid in (int(directory.name) for directory in Path("/proc").glob("[0-9]*")):
        with suppress(OSError):
            parents[pid], used[pid] = parent(pid), cpu_seconds(pid)

    def belongs(pid: int) -> bool:
        return pid == process.pid or (pid in parents and belongs(parents[pid]))

    return {pid: seconds for pid, seconds in used.items() if belongs(pid)}


def measure(page: Page, seconds: float) -> dict[str, float]:
    """Return the seconds until each thing was to be seen, and what the demo then used."""
    with tempfile.TemporaryDirectory() as state:
        began = time.monotonic()

        def after(what: Callable[[], object]) -> float:
            what()
            return round(time.monotonic() - began, 1)

        with demo(state) as process:
            told = {
                "page": after(lambda: reached(page)),
                "services_on_the_map": after(lambda: page.wait_for_selector(".node")),
                "calls_on_the_map": after(lambda: page.wait_for_selector(".edge.busy", state="attached")),
                "every_replica_ready": after(lambda: page.wait_for_selector("#facts [data-kind=good]")),
            }
            before = cpu(process)
            told["cpu_seconds_until_then"] = round(sum(before.values()), 1)
            time.sleep(seconds)
            used = sum(spent - before.get(pid, 0.0) for pid, spent in cpu(process).items())
            return told | {
                "cores": round(used / seconds, 2),
                "processes": len(before),
                "load": round(os.getloadavg()[0], 1),
            }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of the CPU's measurement")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        print(json.dumps(measure(page, options.seconds)), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
