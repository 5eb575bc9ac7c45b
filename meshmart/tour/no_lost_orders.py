"""Orders under random kills.

Switched off: with `--plain` the buyer asks again without the key of the first attempt, and orders twice.
"""

from meshmart.chaos import Killer, Storm, order_many, victims
from meshmart.tour.check import Check
from meshmart.tour.stage import Stage
from services.loadgen.shop import Shop

NAME = "no-lost-orders"
SHOWS = "a random replica of any service is killed every 2 s; each accepted order is there once, paid once"

ORDERS = 150
#: Enough of them that every service is likely to have been hit.
KILLS = 5


async def play(stage: Stage) -> list[Check]:
    killer = Killer(stage.cluster, await victims(stage.cluster), 2.0, say=stage.say)
    shop, orders = Shop(stage.channels), ORDERS
    accepted = astray = 0
    async with killer:
        storms = list[Storm]()
        while killer.kills.total() < KILLS or not storms:
            storms.append(await order_many(shop, orders, by_key=stage.careful))
            orders = ORDERS // 3  # a fast machine is done before the killer is
    stage.say("auditing the books")
    verdict, books = await stage.audit(60.0)
    for storm in storms:
        accepted += len(storm.accepted)
        astray += len(storm.astray(books))
    wanted = sum(storm.wanted for storm in storms)
    for line in verdict.problems[:5]:
        stage.say(line)
    uneven = sum(not s.even for s in verdict.sums)
    return [
        Check("replicas killed", killer.kills.total(), KILLS, relation=">="),
        Check(f"accepted orders of {wanted}", accepted, wanted, relation="=="),
        Check("orders lost or doubled", astray, 0, relation="=="),
        Check("what does not add up in the books", len(verdict.problems) + uneven, 0, relation="=="),
        Check("what is left unfinished", len(verdict.unfinished), 0, relation="=="),
    ]
