"""A buyer who does not give up: it repeats its order with the same key until there is an answer.

A buyer who looks at prices first sends the total that it was shown. If the total has changed, it is shown the
new one and orders again with another key, like a person who reads the page and presses the button again.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import grpc
from ecommerce import order_pb2, product_pb2
from google.rpc import error_details_pb2

from grpcmesh.clock import Clock
from grpcmesh.status import from_wire
from services.loadgen.engine import Recorder
from services.loadgen.report import Report
from services.loadgen.session import Session
from services.loadgen.shop import Shop, order_request

#: Codes that leave the outcome of the order open.
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
#: Seconds between two attempts, and seconds for all attempts.
PAUSE = 0.2
PATIENCE = 60.0
#: The most changes of the total that a buyer agrees to.
MAX_CHANGES = 10
#: The number of products of the demo's catalogue that are ordered.
PRODUCTS = 10


@dataclass(slots=True)
class Asked:
    """An order as its buyer knows it."""

    key: str
    order_id: int = 0
    #: CONFIRMED, or the reason why not.
    answer: str = "no answer"
    attempts: int = 0
    #: When the last attempt began, in Unix seconds.
    last_asked: float = 0.0
    seconds: float = 0.0
    #: The total that was shown, in cents; None if the buyer did not look.
    shown: int | None = None
    #: How often the total had changed by the time of the order.
    changed: int = 0

    @property
    def accepted(self) -> bool:
        return self.answer == "CONFIRMED"

    @property
    def keys(self) -> list[str]:
        """Return the keys with which the order may be in the books."""
        return [self.key, *(f"{self.key}+{change}" for change in range(1, self.changed + 1))]


class PersistentBuyer:
    """Places orders, and repeats them until the outcome is known.

    Args:
        shop: The shop.
        session: The buyer.
        by_key: If False, each attempt has a key of its own, like those of a client that knows no keys.
        looks: Whether it looks at prices, and sends the total that it was shown.
        patience: Seconds after which it does not ask again; 0 asks once.
        clock: Returns monotonic seconds.
        now: Returns the time in Unix seconds.
        sleep: Waits between attempts.
    """

    def __init__(
        self,
        shop: Shop,
        session: Session,
        *,
        by_key: bool = True,
        looks: bool = False,
        patience: float = PATIENCE,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shop, self._session, self._by_key, self._looks = shop, session, by_key, looks
        self._patience, self._clock, self._now, self._sleep = patience, clock, now, sleep

    async def order(self, key: str, cart: Sequence[tuple[int, int]]) -> Asked:
        """Ask until the order is confirmed or refused, or patience is exhausted."""
        asked, began = Asked(key), self._clock()
        while await self._ask(asked, cart) and not asked.accepted:
            if self._clock() - began >= self._patience:
                break
            await self._sleep(PAUSE)
        asked.seconds = self._clock() - began
        return asked

    async def _ask(self, asked: Asked, cart: Sequence[tuple[int, int]]) -> bool:
        """Make one attempt. Return whether to ask again unless the order was accepted."""
        asked.attempts += 1
        asked.last_asked = self._now()
        report = Report()
        metadata = await self._session.metadata(Recorder(report, self._clock()))
        if metadata is None:
            asked.answer = f"nobody can log in: {', '.join(sorted(report.codes()))}"
            return True
        key = asked.keys[-1] if self._by_key else f"{asked.key}-{asked.attempts}"
        request = order_request(self._session.user_id, cart, key)
        try:
            if self._looks and asked.shown is None:
                asked.shown = await self._total(cart)
            if asked.shown is not None:
                request.expected_total = asked.shown / 100
            order = (await self._shop.orders.CreateOrder(request, metadata=metadata, timeout=TIMEOUT)).order
        except grpc.aio.AioRpcError as e:
            asked.answer = f"{e.code().name}: {e.details()}"
            return e.code() in _UNCLEAR or _shown_anew(asked, e)
        asked.order_id = order.id
        asked.answer = order_pb2.OrderStatus.Name(order.status).removeprefix("ORDER_STATUS_")
        return True

    async def _total(self, cart: Sequence[tuple[int, int]]) -> int:
        """Return the cart's total at current prices, in cents."""
        total = 0
        for product_id, quantity in cart:
            request = product_pb2.GetProductRequest(id=product_id)
            product = (await self._shop.products.GetProduct(request, timeout=TIMEOUT)).product
            total += round(product.price * 100) * quantity
        return total


def _shown_anew(asked: Asked, error: grpc.aio.AioRpcError) -> bool:
    """Return whether the order was refused because of its prices.

    Then the buyer has been shown the new total.
    """
    info = error_details_pb2.ErrorInfo()
    status = from_wire(error.trailing_metadata())
    if status is None or not any(detail.Unpack(info) for detail in status.details):
        return False
    if info.reason != "PRICE_CHANGED" or asked.changed == MAX_CHANGES:
        return False
    asked.shown, asked.changed = int(info.metadata["total_cents"]), asked.changed + 1
    return True


def random_cart(rng: random.Random) -> list[tuple[int, int]]:
    """Return one to three products, one to three units of each."""
    chosen = rng.sample(range(1, PRODUCTS + 1), rng.randint(1, 3))
    return [(product, rng.randint(1, 3)) for product in chosen]
