"""A buyer who does not give up: asks again under the same key until there is an answer."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
from ecommerce import order_pb2

from grpcmesh.clock import Clock
from services.loadgen.engine import Recorder
from services.loadgen.report import Report
from services.loadgen.session import Session
from services.loadgen.shop import Shop, order_request

#: Codes that say nothing about what became of the order.
_UNCLEAR = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
TIMEOUT = 8.0
#: Seconds between two attempts, and for all of them.
PAUSE = 0.2
PATIENCE = 60.0
#: Products that are ordered, of the demo's catalogue.
PRODUCTS = 10


@dataclass(slots=True)
class Asked:
    """An order as its buyer knows it."""

    key: str
    order_id: int = 0
    #: CONFIRMED, or why not.
    answer: str = "no answer"
    attempts: int = 0
    #: When the last attempt began, in Unix seconds.
    last_asked: float = 0.0
    seconds: float = 0.0

    @property
    def accepted(self) -> bool:
        return self.answer == "CONFIRMED"


class PersistentBuyer:
    """Orders, and asks again.

    Args:
        shop: Where.
        session: Who.
        by_key: False: each attempt under a key of its own, as a client does that knows of none.
        patience: Seconds after which it does not ask again; 0: it asks once.
        clock: Monotonic.
        now: Unix seconds.
        sleep: Waits between attempts.
    """

    def __init__(
        self,
        shop: Shop,
        session: Session,
        *,
        by_key: bool = True,
        patience: float = PATIENCE,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shop, self._session, self._by_key = shop, session, by_key
        self._patience, self._clock, self._now, self._sleep = patience, clock, now, sleep

    async def order(self, key: str, cart: Sequence[tuple[int, int]]) -> Asked:
        """Asks until the order is confirmed or refused, or patience is at an end."""
        asked, began = Asked(key), self._clock()
        while await self._ask(asked, cart) and not asked.accepted:
            if self._clock() - began >= self._patience:
                break
            await self._sleep(PAUSE)
        asked.seconds = self._clock() - began
        return asked

    async def _ask(self, asked: Asked, cart: Sequence[tuple[int, int]]) -> bool:
        """Whether to ask again, unless it is accepted."""
        asked.attempts += 1
        asked.last_asked = self._now()
        metadata = await self._session.metadata(Recorder(Report(), self._clock()))
        if metadata is None:
            asked.answer = "nobody can log in"
            return True
        key = asked.key if self._by_key else f"{asked.key}-{asked.attempts}"
        request = order_request(self._session.user_id, cart, key)
        try:
            order = (await self._shop.orders.CreateOrder(request, metadata=metadata, timeout=TIMEOUT)).order
        except grpc.aio.AioRpcError as e:
            asked.answer = f"{e.code().name}: {e.details()}"
            return e.code() in _UNCLEAR
        asked.order_id = order.id
        asked.answer = order_pb2.OrderStatus.Name(order.status).removeprefix("ORDER_STATUS_")
        return True


def random_cart(rng: random.Random) -> list[tuple[int, int]]:
    """One to three products, one to three of each."""
    chosen = rng.sample(range(1, PRODUCTS + 1), rng.randint(1, 3))
    return [(product, rng.randint(1, 3)) for product in chosen]
