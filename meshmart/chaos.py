"""Places orders while replicas are killed: for the scene, the test and the benchmark of that name."""

import asyncio
import math
import random
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from local.errors import ClusterError
from meshmart.books.model import Books, Order
from meshmart.cluster import Cluster
from services import manifest
from services.loadgen.persistent import PATIENCE, Asked, PersistentBuyer, random_cart
from services.loadgen.shop import Shop

#: The services whose replicas are killed by default. The storefront takes no part in these orders.
VICTIMS = tuple(name for name, its in manifest.shop().items() if its.kind == manifest.GRPC)

#: The most rounds of further orders until the killer has reached its limit.
MORE_ROUNDS = 30


class InBackground:
    """Work that runs while the body of an `async with` runs. An error of the work is raised at its end."""

    _task: asyncio.Task[None] | None = None

    async def _go_on(self) -> None:
        """Work until cancelled."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._go_on(), name=type(self).__name__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        (ended,) = await asyncio.gather(self._task, return_exceptions=True)
        if error is None and isinstance(ended, Exception):
            raise ended


class Killer(InBackground):
    """Kills a random replica now and then (kill -9), until the block ends.

    It kills a replica of every service, in random order, before it returns to any of them.

    Args:
        cluster: The cluster.
        services: The services whose replicas are killed.
        every: The average number of seconds between two kills; each pause is between half of it and one and a
            half.
        rng: Chooses services, replicas and pauses.
        limit: The most kills.
        say: Called with a line about each kill.
    """

    def __init__(
        self,
        cluster: Cluster,
        services: Sequence[str],
        every: float,
        rng: random.Random | None = None,
        limit: float = math.inf,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cluster, self._services, self._every = cluster, services, every
        self._rng, self.limit, self._say = rng or random.Random(), limit, say
        #: The number of kills by service.
        self.kills: Counter[str] = Counter()

    @property
    def done(self) -> bool:
        """Return whether it reached its limit, or failed."""
        return self._task is not None and self._task.done()

    async def _go_on(self) -> None:
        round_ = list[str]()
        while self.kills.total() < self.limit:
            round_ = round_ or self._rng.sample(self._services, len(self._services))
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * self._every)
            await self._kill_one(round_.pop())

    async def _kill_one(self, service: str) -> None:
        ready = [r.id for r in await self._cluster.endpoints(service) if r.ready]
        if not ready:
            return
        victim = self._rng.choice(ready)
        try:
            await self._cluster.kill(service, victim)
        except ClusterError:
            return  # it ended by itself meanwhile
        self.kills[service] += 1
        self._say(f"kill -9 of {service}/{victim}")


@dataclass(slots=True)
class OrderRun:
    """The orders of one run, as their buyers know them."""

    wanted: int
    asked: list[Asked] = field(default_factory=list)
    started: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        return self.ended - self.started

    @property
    def accepted(self) -> list[Asked]:
        return [a for a in self.asked if a.accepted]

    def astray(self, books: Books) -> list[str]:
        """Return a line for each order that is not in the books exactly once if accepted, or at all
        if not.
        """
        placed: defaultdict[str, list[Order]] = defaultdict(list)
        for order in books.orders:
            if order.key is not None and order.confirmed:
                placed[order.key].append(order)
        return [line for asked in self.asked if (line := _astray(asked, placed))]

    def in_vain(self, books: Books) -> list[Asked]:
        """Return the orders that were asked for again although an earlier attempt, whose answer was lost,
        placed them.

        These are what a key is for: without one each of them would be placed twice.
        """
        placed = {o.key: o.created_at for o in books.orders if o.key and o.confirmed}
        return [a for a in self.asked if any(placed.get(k, a.last_asked) < a.last_asked for k in _keys(a))]


def _keys(asked: Asked) -> list[str]:
    """Return the keys with which an order may be in the books, whether or not its buyer uses one key."""
    return [*asked.keys, *(f"{asked.key}-{attempt}" for attempt in range(1, asked.attempts + 1))]


def _astray(asked: Asked, placed: Mapping[str, Sequence[Order]]) -> str:
    found = [order for key in _keys(asked) for order in placed.get(key, ())]
    if len(found) != asked.accepted:
        return f"{asked.key}: answered {asked.answer!r}, {len(found)} in the books"
    if asked.shown is not None and any(order.total != asked.shown for order in found):
        return f"{asked.key}: {asked.shown} cents were shown, {found[0].total} charged"
    return ""


async def order_many(
    shop: Shop,
    count: int,
    *,
    workers: int = 5,
    by_key: bool = True,
    looks: bool = False,
    patience: float = PATIENCE,
    progress: Callable[[OrderRun], None] = lambda _: None,
) -> OrderRun:
    """Place orders, `workers` at a time, each until there is an answer.

    Args:
        shop: The shop. Its buyers take turns, its random source fills the carts.
        count: The number of orders.
        workers: The number of orders in flight.
        by_key: Whether all attempts at an order use one key.
        looks: Whether buyers send the total that they were shown.
        patience: Seconds after which an order without an answer is given up.
        progress: Called after each order.
    """
    run_id = uuid.uuid4().hex[:12]
    run = OrderRun(count, started=time.monotonic())
    numbers = iter(range(count))

    async def work(number: int) -> None:
        session = shop.buyers[number % len(shop.buyers)]
        buyer = PersistentBuyer(shop, session, by_key=by_key, looks=looks, patience=patience)
        for order in numbers:
            run.asked.append(await buyer.order(f"chaos-{run_id}-{order}", random_cart(shop.rng)))
            progress(run)

    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(work(number))
    run.ended = time.monotonic()
    return run


async def order_until_killed(shop: Shop, killer: Killer, count: int, **how: Any) -> list[OrderRun]:
    """Place `count` orders, and then a third of that number at a time until the killer has reached its limit.

    A fast machine places any number of orders before the replicas are killed.

    Args:
        shop: The shop.
        killer: A killer with a limit. It is started here and stopped at the end.
        count: The number of orders at first.
        how: Further arguments of `order_many`.
    """
    async with killer:
        runs = [await order_many(shop, count, **how)]
        for _ in range(MORE_ROUNDS):
            if killer.done:
                break
            runs.append(await order_many(shop, max(1, count // 3), **how))
    return runs


async def victims(cluster: Cluster, wanted: Sequence[str] = VICTIMS) -> list[str]:
    """Return those of the services that have at least one replica in the cluster."""
    found = []
    for service in wanted:
        try:
            if await cluster.endpoints(service):
                found.append(service)
        except ClusterError:
            continue
    return found
