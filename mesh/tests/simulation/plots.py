"""Writes the pictures of the docs: `python -m tests.simulation.plots` in `mesh/`.

Each shows one run of the simulator twice, without a feature and with it. The seed is fixed, so the files
change only where the library decides differently; `test_plots.py` says where they are stale.
"""

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from grpcmesh.service_config import CircuitBreaker
from tests.simulation.scenarios import (
    HEDGED,
    NAIVE_RETRIES,
    OFF,
    ON,
    Run,
    Size,
    failing,
    hanging,
    nothing,
    outage,
    simulate,
    slow,
)
from tests.simulation.svg import Chart
from tests.simulation.world import Client, Second, Server, Settings, World

FOLDER = Path(__file__).parents[2] / "docs" / "images"
SEED = 1
_SIZE = Size(clients=20, servers=10, rate=40.0, seconds=20)
#: These servers have several places and a queue. With a single place, one call would block all others.
_BUSY = Size(clients=30, servers=5, rate=30.0, seconds=20)


def _each(run: Run, value: Callable[[Second], float]) -> list[float]:
    return [value(second) for second in run.seconds]


def _good(second: Second) -> float:
    return second.good / max(1, second.calls)


def retry_storm() -> Chart:
    """Plot a retry storm: every server fails for ten seconds."""
    wrong, strict = failing(1.0, 5, 15), replace(OFF.retry, budget_floor=0.0)
    naive = simulate(_SIZE, replace(OFF, retry=NAIVE_RETRIES), wrong, seed=SEED)
    budget = simulate(_SIZE, replace(OFF, retry=strict), wrong, seed=SEED)

    def attempts(second: Second) -> float:
        return second.attempts / max(1, second.calls)

    lines = [("no budget", _each(naive, attempts)), ("a budget of 20 %", _each(budget, attempts))]
    return Chart("Retry storm: attempts per call", lines, 4.0, (5, 15))


def partial_outage() -> Chart:
    """Plot an outage of 40 % of the servers, which overloads the others."""
    wrong = outage(0.4, 5, 15)
    off = simulate(_BUSY, OFF, wrong, seed=SEED, load=0.8, seconds=0.1)
    on = simulate(_BUSY, OFF, wrong, seed=SEED, load=0.8, seconds=0.1, admission=True)
    lines = [("no admission", _each(off, _good)), ("admission", _each(on, _good))]
    return Chart(
        "Two of five servers away at 80 % load: calls answered in time", lines, 1.0, (5, 15), percent=True
    )


def slow_replica() -> Chart:
    """Plot a slow replica: one server in ten takes twenty times as long."""
    wrong = slow(0.1, 20, 5, 15)
    off, on = (simulate(_SIZE, settings, wrong, seed=SEED) for settings in (OFF, HEDGED))

    def p99(second: Second) -> float:
        return 1000 * second.percentile(0.99)

    lines = [("no hedging", _each(off, p99)), ("hedging after the 95th percentile", _each(on, p99))]
    return Chart("Slow replica: 99th percentile of latency (ms)", lines, 1000.0, (5, 15))


def grey_failure() -> Chart:
    """Plot a grey failure: one server in ten fails but says SERVING. Calls are not retried."""
    alone = replace(ON, retry=replace(ON.retry, max_attempts=1))
    wrong = failing(0.1, 5, 15)
    off = simulate(_SIZE, replace(alone, outlier_detection=None), wrong, seed=SEED)
    on = simulate(_SIZE, alone, wrong, seed=SEED)
    lines = [("no outlier detection", _each(off, _good)), ("outlier detection", _each(on, _good))]
    return Chart("Grey failure, no retries: calls answered well", lines, 1.0, (5, 15), percent=True)


def adaptive_limit() -> Chart:
    """Plot the adaptive limit under a load of three times the capacity."""
    capacity = _BUSY.clients * _BUSY.rate / 3.0
    off = simulate(_BUSY, OFF, nothing, seed=SEED, load=3.0)
    on = simulate(_BUSY, OFF, nothing, seed=SEED, load=3.0, admission=True)

    def goodput(second: Second) -> float:
        return second.good / capacity

    lines = [("no limit", _each(off, goodput)), ("adaptive limit", _each(on, goodput))]
    return Chart("Three times the capacity: goodput, of capacity", lines, 1.2, percent=True)


def correlated_restart() -> Chart:
    """Plot a correlated restart: four servers in five restart at once."""
    wrong = outage(0.8, 5, 9)
    naive = replace(OFF, retry=NAIVE_RETRIES)
    off = simulate(_BUSY, naive, wrong, seed=SEED, load=0.6, seconds=0.1)
    on = simulate(_BUSY, ON, wrong, seed=SEED, load=0.6, seconds=0.1, admission=True)
    lines = [
        ("retries without budget, no admission", _each(off, _good)),
        ("the mesh's defaults", _each(on, _good)),
    ]
    return Chart("Correlated restart: calls answered in time", lines, 1.0, (5, 9), percent=True)


def hanging_target() -> Chart:
    """Plot a target that hangs: no server answers for ten seconds. Deadlines are five seconds."""

    def under_way(settings: Settings) -> list[float]:
        found: list[float] = []

        def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
            hanging(1.0, 5, 15)(world, servers, clients)

            def look() -> None:
                found.append(sum(e.in_flight for c in clients for e in c.endpoints) / len(clients))

            for second in range(_SIZE.seconds):
                world.after(second + 0.5, look)

        simulate(_SIZE, settings, happens, seed=SEED)
        return found

    off = replace(OFF, timeout=5.0, retry=replace(OFF.retry, max_attempts=1))
    on = replace(off, breaker=CircuitBreaker(max_concurrent_requests=20))
    lines = [("no limit", under_way(off)), ("at most 20 at once", under_way(on))]
    return Chart("Target that hangs: calls under way of one caller", lines, 240.0, (5, 15))


#: The plots, by file name.
PLOTS: Mapping[str, Callable[[], Chart]] = {
    "retry-storm": retry_storm,
    "partial-outage": partial_outage,
    "slow-replica": slow_replica,
    "grey-failure": grey_failure,
    "adaptive-limit": adaptive_limit,
    "correlated-restart": correlated_restart,
    "hanging-target": hanging_target,
}


def main() -> int:
    """Write all of them."""
    logging.disable(logging.WARNING)  # every ejection is logged
    FOLDER.mkdir(exist_ok=True)
    for name, plot in PLOTS.items():
        (FOLDER / f"{name}.svg").write_text(plot().render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
