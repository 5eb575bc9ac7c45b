"""Does what admins do while orders are placed: refund, ship, cancel, edit products, change prices, receive
goods.

Every act is drawn from a seeded random source, and repeated until there is an answer; a refusal is one.
"""

import asyncio
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from ecommerce import order_pb2, payment_pb2, product_pb2
from ecommerce.payment_pb2_grpc import PaymentServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from meshmart.chaos import InBackground
from services.loadgen.calls import ChannelSource
from services.loadgen.engine import Recorder
from services.loadgen.persistent import PRODUCTS, Asked
from services.loadgen.report import Report
from services.loadgen.session import Session
from services.loadgen.shop import Shop

#: The timeout of one call, the pause between two attempts, and the limit for all attempts, in seconds.
TIMEOUT, PAUSE, PATIENCE = 8.0, 0.3, 90.0
#: Seconds for which an old client keeps a product before it sends it back.
READING = 0.3
_UNCLEAR = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
_SHIPPED, _DELIVERED = order_pb2.ORDER_STATUS_SHIPPED, order_pb2.ORDER_STATUS_DELIVERED


class BackOffice(InBackground):
    """An admin at work, from the beginning of the block to its end.

    Args:
        channels: Channels into the mesh.
        shop: The shop with the catalogue and the orders.
        admin: The session of a user with the role admin.
        rng: Draws the acts.
        every: The average number of seconds between two acts.
    """

    def __init__(
        self, channels: ChannelSource, shop: Shop, admin: Session, rng: random.Random, every: float
    ) -> None:
        self._shop, self._admin, self._rng, self._every = shop, admin, rng, every
        self._payments: Any = PaymentServiceStub(channels("payment"))
        self._orders = list[int]()
        #: The number of acts, by act and outcome.
        self.acts: Counter[tuple[str, str]] = Counter()
        #: The cents of refunds that were confirmed, by order.
        self.repaid: defaultdict[int, int] = defaultdict(int)

    def sold(self, asked: Asked) -> None:
        """Record an order that acts may use, if it was confirmed."""
        if asked.accepted:
            self._orders.append(asked.order_id)

    async def _go_on(self) -> None:
        acts: dict[Callable[[], Awaitable[str]], int] = {
            self._refund_part: 4,
            self._refund_whole: 2,
            self._ship: 4,
            self._deliver: 2,
            self._cancel: 1,
            self._describe: 2,
            self._describe_as_an_old_client: 2,
            self._price: 3,
            self._receive: 1,
            self._correct: 1,
        }
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * self._every)
            (act,) = self._rng.choices(list(acts), list(acts.values()))
            name = act.__name__.strip("_").replace("_", " ")
            self.acts[name, await act()] += 1

    async def _refund_part(self) -> str:
        return await self._refund(self._rng.uniform(0.1, 0.6))

    async def _refund_whole(self) -> str:
        return await self._refund(1.0)

    async def _refund(self, share: float) -> str:
        order = await self._some_order()
        if order is None:
            return "no order"
        left = round((order.total_amount - order.refunded_amount) * 100)
        cents = max(1, round(left * share))
        request = payment_pb2.RefundRequest(
            payment_id=order.payment_id, amount=cents / 100, reason="bench", idempotency_key=uuid.uuid4().hex
        )
        outcome = await self._act(lambda **call: self._payments.RefundPayment(request, **call))
        if outcome == "OK":
            self.repaid[order.id] += cents
        return outcome

    async def _ship(self) -> str:
        return await self._move(_SHIPPED)

    async def _deliver(self) -> str:
        return await self._move(_DELIVERED)

    async def _cancel(self) -> str:
        return await self._move(order_pb2.ORDER_STATUS_CANCELLED)

    async def _move(self, status: int) -> str:
        if not self._orders:
            return "no order"
        request = order_pb2.UpdateOrderStatusRequest(id=self._rng.choice(self._orders), status=status)  # type: ignore[arg-type]
        return await self._act(lambda **call: self._shop.orders.UpdateOrderStatus(request, **call))

    async def _describe(self) -> str:
        mask = FieldMask(paths=["description"])
        return await self._edit(self._product_id(), description=uuid.uuid4().hex, update_mask=mask)

    async def _describe_as_an_old_client(self) -> str:
        """Send back every field that was read, like a client that knows neither mask nor version."""
        try:
            read = await self._read(self._product_id())
        except grpc.aio.AioRpcError as e:
            return str(e.code().name)
        await asyncio.sleep(READING)
        return await self._edit(
            read.id,
            name=read.name,
            description=uuid.uuid4().hex,
            price=read.price,
            stock=read.stock,
            category=read.category,
            tags=read.tags,
        )

    async def _price(self) -> str:
        mask = FieldMask(paths=["price"])
        price = self._rng.randint(1_000, 200_000) / 100
        return await self._edit(self._product_id(), price=price, update_mask=mask)

    async def _edit(self, product_id: int, **fields: Any) -> str:
        request = product_pb2.UpdateProductRequest(id=product_id, **fields)
        return await self._act(lambda **call: self._shop.products.UpdateProduct(request, **call))

    async def _receive(self) -> str:
        return await self._adjust(product_pb2.STOCK_MOVEMENT_KIND_RECEIVE, self._rng.randint(1, 50))

    async def _correct(self) -> str:
        return await self._adjust(product_pb2.STOCK_MOVEMENT_KIND_CORRECT, -self._rng.randint(1, 5))

    async def _adjust(self, kind: int, change: int) -> str:
        request = product_pb2.AdjustStockRequest(
            product_id=self._product_id(),
            kind=kind,  # type: ignore[arg-type]
            change=change,
            idempotency_key=uuid.uuid4().hex,
        )
        return await self._act(lambda **call: self._shop.products.AdjustStock(request, **call))

    def _product_id(self) -> int:
        return self._rng.randint(1, PRODUCTS)

    async def _read(self, product_id: int) -> product_pb2.Product:
        request = product_pb2.GetProductRequest(id=product_id)
        response: product_pb2.GetProductResponse = await self._shop.products.GetProduct(
            request, timeout=TIMEOUT
        )
        return response.product

    async def _some_order(self) -> order_pb2.Order | None:
        """Return an order that can be refunded, or None if none can be found now."""
        metadata = await self._admin.metadata(Recorder(Report(), 0.0))
        if not self._orders or metadata is None:
            return None
        request = order_pb2.GetOrderRequest(id=self._rng.choice(self._orders))
        try:
            response = await self._shop.orders.GetOrder(request, metadata=metadata, timeout=TIMEOUT)
        except grpc.aio.AioRpcError:
            return None
        order: order_pb2.Order = response.order
        return order if order.payment_id and order.refunded_amount < order.total_amount else None

    async def _act(self, call: Callable[..., Any]) -> str:
        """Make a call until there is an answer, and return its code."""
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            metadata = await self._admin.metadata(Recorder(Report(), 0.0))
            code = (
                "nobody can log in"
                if metadata is None
                else await _code(call(metadata=metadata, timeout=TIMEOUT))
            )
            if code in _ANSWERS or asyncio.get_running_loop().time() > end:
                return code
            await asyncio.sleep(PAUSE)


_ANSWERS = frozenset({code.name for code in grpc.StatusCode if code not in _UNCLEAR})


async def _code(call: Awaitable[Any]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as e:
        return str(e.code().name)
    return "OK"
