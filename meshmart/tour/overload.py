"""The scene `overload`: product gets three times the calls that it can serve.

Each replica delays so many calls at a time, so its capacity depends on no CPU.
"""

import asyncio
import time
from typing import Any

from ecommerce import product_pb2
from ecommerce.product_pb2_grpc import ProductServiceStub

from grpcmesh.fault import Fault
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.failures import failures
from meshmart.tour.faulty import faulty, until_well
from meshmart.tour.ordering import ordering
from meshmart.tour.stage import SceneError, Stage
from services.loadgen.calls import measured
from services.loadgen.engine import Journey, Load, Pressure, Recorder
from services.loadgen.report import Report, percentile

NAME = "overload"
SHOWS = CATALOGUE[NAME]

SERVICE, REPLICAS = "product", 3
#: What each replica does: so many calls at a time, each in so many seconds. It can serve 40 calls per second.
SLOW = Fault("ecommerce.ProductService/*", delay=0.1, concurrency=4)
#: Seconds after which a reader gives up. A call that is admitted waits for about 1.5 s: the least limit of a
#: server is 64 calls at a time.
DEADLINE = 3.0
#: Readers that keep all replicas busy, to measure the peak.
BUSY = 3 * REPLICAS * SLOW.concurrency
#: Reads per second in multiples of the peak, and orders per second beside them.
TIMES, ORDERS = 3.0, 4.0
#: Seconds in which the load settles, and seconds that are measured: at the peak, and under overload.
SETTLE_PEAK, PEAK = 1.0, 3.0
SETTLE, MEASURED = DEADLINE, 6.0


async def play(stage: Stage) -> list[Check]:
    replicas = await stage.with_replicas(SERVICE, REPLICAS)
    await until_well(stage, SERVICE, replicas)
    async with Load(ordering(stage), ORDERS) as warm:
        await stage.settle(warm, 4)  # logged in and connected
    async with faulty(stage, SERVICE, replicas, SLOW):
        async with Pressure(_reading(stage), BUSY) as busy:
            peak = await _served(SETTLE_PEAK, PEAK, busy)
        if not peak:
            raise SceneError(f"{SERVICE} answered no read in {PEAK:g} s: there is no peak to compare with")
        stage.say(f"peak: {peak:.0f} reads per second; now {TIMES:g} times as many, and {ORDERS:g} orders")
        async with Load(_reading(stage), TIMES * peak) as reads, Load(ordering(stage), ORDERS) as orders:
            goodput = await _served(SETTLE, MEASURED, reads, orders)
    return _checks(stage, peak, goodput, reads.report, orders.report)


def _checks(stage: Stage, peak: float, goodput: float, reads: Report, orders: Report) -> list[Check]:
    refused = sorted(s.latency for s in reads.samples if s.code == "RESOURCE_EXHAUSTED")
    answered = sum(s.code == "OK" for s in reads.samples)
    stage.say(f"{answered} of {len(reads.samples)} reads were answered, {len(refused)} refused")
    confirmed = sum(s.code == "OK" for s in orders.samples)
    return [
        Check(
            f"goodput, of the peak of {peak:.0f} calls/s",
            100 * goodput / peak,
            90,
            " %",
            ">=",
            details=failures(reads, stage.names),
        ),
        # Without one nothing was refused, and the next figure would prove nothing.
        Check("reads refused", len(refused), 1, relation=">="),
        Check("p95 of a refusal", percentile(refused, 0.95), DEADLINE / 10, " s"),
        Check(
            f"confirmed orders of {len(orders.samples)}",
            100 * confirmed / max(1, len(orders.samples)),
            95,
            " %",
            ">=",
            details=failures(orders, stage.names),
        ),
    ]


async def _served(settle: float, seconds: float, *loads: Load) -> float:
    """Let loads settle, and return the good answers per second of the `seconds` after that."""
    await asyncio.sleep(settle)
    since = time.monotonic()
    await asyncio.sleep(seconds)
    until = time.monotonic()
    samples = (s for load in loads for s in load.report.samples)
    return sum(s.code == "OK" and since <= s.ended < until for s in samples) / (until - since)


def _reading(stage: Stage) -> Journey:
    """Return a journey that reads one product, and gives up after `DEADLINE`."""
    stub: Any = ProductServiceStub(stage.channels(SERVICE))

    async def journey(recorder: Recorder) -> None:
        call = stub.GetProduct(product_pb2.GetProductRequest(id=1), timeout=DEADLINE)
        await measured(recorder, SERVICE, "GetProduct", call)

    return journey
