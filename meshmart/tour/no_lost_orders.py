"""The scene `no-lost-orders`: orders under random kills.

With `--plain`, for comparison, the buyer asks again without the key of the first attempt, and orders twice.
"""

import time
from collections.abc import Sequence

from local.words import plural
from meshmart.books.model import Books
from meshmart.books.verdict import Verdict
from meshmart.chaos import Killer, OrderRun, order_until_killed, victims
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.failures import MOST
from meshmart.tour.stage import Stage
from services.loadgen.persistent import PATIENCE
from services.loadgen.shop import Shop

NAME = "no-lost-orders"
SHOWS = CATALOGUE[NAME]

ORDERS = 150
#: The most extra rounds of kills at the order service, until an order's answer was lost after it was placed.
TRIES = 5
#: Seconds after which a plain client gives up an order: gRPC's own client resolves again only after 30 s.
PLAIN_PATIENCE = 10.0


async def play(stage: Stage) -> list[Check]:
    shop, killers = Shop(stage.channels), [_killer(stage, await victims(stage.cluster))]
    runs = await _order_runs(stage, shop, killers[0], ORDERS)
    verdict, books = await _audited(stage)
    for _ in range(TRIES):
        if _in_vain(runs, books):
            break
        stage.say("no order was cut after it had been placed: once more, at the order service")
        # Both replicas, because a plain client uses only one of them.
        killers.append(_killer(stage, ["order", "order"]))
        runs += await _order_runs(stage, shop, killers[-1], ORDERS // 3)
        verdict, books = await _audited(stage)
    killed, wanted = sum(k.kills.total() for k in killers), sum(k.limit for k in killers)
    return [Check("replicas killed", killed, wanted, relation=">="), *_checks(runs, verdict, books)]


def _killer(stage: Stage, services: Sequence[str]) -> Killer:
    return Killer(stage.cluster, services, 2.0, limit=len(services), say=stage.say)


async def _order_runs(stage: Stage, shop: Shop, killer: Killer, orders: int) -> list[OrderRun]:
    patience = PATIENCE if stage.careful else PLAIN_PATIENCE
    return await order_until_killed(shop, killer, orders, by_key=stage.careful, patience=patience)


async def _audited(stage: Stage) -> tuple[Verdict, Books]:
    stage.say("auditing the books")
    verdict, books = await stage.audit(60.0)
    for line in verdict.problems[:5]:
        stage.say(line)
    return verdict, books


def _checks(runs: list[OrderRun], verdict: Verdict, books: Books) -> list[Check]:
    wanted, accepted = sum(s.wanted for s in runs), sum(len(s.accepted) for s in runs)
    wrong = len(verdict.problems) + sum(not s.even for s in verdict.sums)
    astray = [line for run in runs for line in run.astray(books)]
    return [
        # Without one no key was ever needed, and the next figures would prove nothing.
        Check("orders asked for again though placed", _in_vain(runs, books), 1, relation=">="),
        Check(f"accepted orders of {wanted}", accepted, wanted, relation="==", details=_refused(runs)),
        Check("orders lost or doubled", len(astray), 0, relation="==", details=tuple(astray[:MOST])),
        Check(
            "what does not add up in the books",
            wrong,
            0,
            relation="==",
            details=tuple(verdict.problems[:MOST]),
        ),
        Check(
            "what is left unfinished",
            len(verdict.unfinished),
            0,
            relation="==",
            details=tuple(verdict.unfinished[:MOST]),
        ),
    ]


def _refused(runs: Sequence[OrderRun]) -> tuple[str, ...]:
    """Return a line for each order that was not accepted: the last answer to its buyer, and when."""
    return tuple(
        f"{asked.key}: {asked.answer} after {plural(asked.attempts, 'attempt')} in {asked.seconds:.1f} s, "
        "the last at "
        f"{time.strftime('%H:%M:%S', time.localtime(asked.last_asked))}"
        for run in runs
        for asked in run.asked
        if not asked.accepted
    )[:MOST]


def _in_vain(runs: list[OrderRun], books: Books) -> int:
    return sum(len(run.in_vain(books)) for run in runs)
