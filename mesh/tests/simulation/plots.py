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
from tests.simulation.client import Client
from tests.simulation.scenarios import (
    AFFINE,
    HEDGED,
    KEYED,
    NAIVE_RETRIES,
    OFF,
    ON,
    WEIGHTED,
    ZONED,
    Run,
    Size,
    failing,
    hanging,
    not_serving,
    nothing,
    outage,
    rolling_restart,
    simulate,
    slow,
    zone_away,
)
from tests.simulation.server import Server
from tests.simulation.svg import Chart
from tests.simulation.world import Second, Settings, World

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


def unequal_servers() -> Chart:
    """Plot unequal servers: half of them take twice as long, as on a machine of half the size."""
    wrong = slow(0.5, 2, 5, 15)
    off, on = (
        simulate(_SIZE, settings, wrong, seed=SEED, load=0.6, seconds=0.1) for settings in (OFF, WEIGHTED)
    )
    lines = [("round robin", _each(off, _good)), ("weighted by load reports", _each(on, _good))]
    return Chart("Half of the servers at half speed: answered in time", lines, 1.0, (5, 15), percent=True)


def zone_outage() -> Chart:
    """Plot the failure of a zone: two of its five servers go away, then all of them."""
    wrong = zone_away((5, 2), (10, 5), (15, 0))
    off, on = (simulate(_SIZE, settings, wrong, seed=SEED, load=0.15) for settings in (OFF, ZONED))

    def near(second: Second) -> float:
        return second.near / max(1, second.attempts)

    lines = [("no preference", _each(off, near)), ("the own zone preferred", _each(on, near))]
    return Chart("Calls that stay in their zone", lines, 1.0, (5, 15), percent=True)


def rolling_connections() -> Chart:
    """Plot a rolling restart of 60 servers, whose new addresses 100 clients learn."""
    size = Size(clients=100, servers=60, rate=0.1, seconds=20)

    def opened(subset: int | None) -> list[float]:
        found = [0.0] * size.seconds

        def count(at: float, connections: int) -> None:
            found[int(at)] += connections

        simulate(size, replace(OFF, subset=subset), rolling_restart(5, 1 / 6, count), seed=SEED)
        return found

    lines = [("every client connects to all 60", opened(None)), ("to a subset of 10", opened(10))]
    return Chart("Rolling restart: connections opened a second", lines, 700.0, (5, 15))


def affinity() -> Chart:
    """Plot affinity: one server in ten goes away and returns. Each caches 100 of 500 keys."""
    wrong = outage(0.1, 5, 12)
    off, on = (simulate(_SIZE, settings, wrong, seed=SEED) for settings in (KEYED, AFFINE))

    def hits(second: Second) -> float:
        return second.hits / max(1, second.attempts)

    lines = [("round robin", _each(off, hits)), ("ring hash by a header", _each(on, hits))]
    return Chart("Calls whose key the server has in its cache", lines, 1.0, (5, 12), percent=True)


def service_health() -> Chart:
    """Plot the health of a service that three servers in ten cannot serve. Nothing is retried."""
    alone = replace(OFF, retry=replace(OFF.retry, max_attempts=1))
    off, on = (
        simulate(_SIZE, alone, not_serving(0.3, 5, 15, watched), seed=SEED) for watched in (False, True)
    )
    lines = [("only the process is watched", _each(off, _good)), ("the service, too", _each(on, _good))]
    return Chart("A service that three of ten cannot serve: its calls", lines, 1.0, (5, 15), percent=True)


def priorities() -> Chart:
    """Plot priorities under three times the capacity: one call in ten is critical."""
    off, on = (
        simulate(_BUSY, replace(OFF, priorities=known), nothing, seed=SEED, load=3.0, admission=True)
        for known in (False, True)
    )

    def critical(second: Second) -> float:
        return second.critical_good / max(1, second.critical)

    lines = [("no priorities", _each(off, critical)), ("they go first", _each(on, critical))]
    return Chart("Three times the capacity: critical calls answered", lines, 1.0, percent=True)


#: The plots, by file name.
PLOTS: Mapping[str, Callable[[], Chart]] = {
    "retry-storm": retry_storm,
    "partial-outage": partial_outage,
    "slow-replica": slow_replica,
    "grey-failure": grey_failure,
    "adaptive-limit": adaptive_limit,
    "correlated-restart": correlated_restart,
    "hanging-target": hanging_target,
    "unequal-servers": unequal_servers,
    "zone-outage": zone_outage,
    "rolling-connections": rolling_connections,
    "affinity": affinity,
    "service-health": service_health,
    "priorities": priorities,
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
