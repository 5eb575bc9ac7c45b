"""The steps of journeys. Each records the calls that it makes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from ecommerce import chat_pb2, order_pb2, product_pb2

from services.loadgen.calls import Metadata, measured, measured_list, record
from services.loadgen.engine import Recorder
from services.loadgen.following import Following
from services.loadgen.shop import Shop, order_request

#: Seconds that a checkout may take, and seconds for which a buyer follows an order that is not confirmed yet.
CHECKOUT_TIMEOUT = 10.0
#: Seconds for which a visitor stays who follows an order.
STAY = 2.0
ROOM = "lobby"
#: The words that are searched for; each finds something in the demo's catalogue.
WORDS = ("wireless", "desk", "book", "light", "travel", "cotton", "kitchen", "run", "quiet", "keyboard")


async def look(shop: Shop, recorder: Recorder, product_id: int) -> Any:
    """Get a product and return it; None if that fails."""
    call = shop.products.GetProduct(product_pb2.GetProductRequest(id=product_id))
    response = await measured(recorder, "product", "GetProduct", call)
    return None if response is None else response.product


async def look_at_some(shop: Shop, recorder: Recorder, found: list[Any]) -> list[Any]:
    """Get one to three of the products found. Return those that could be read."""
    chosen = shop.rng.sample(found, min(len(found), shop.rng.randint(1, 3)))
    seen = [await look(shop, recorder, product.id) for product in chosen]
    return [product for product in seen if product is not None]


async def search(shop: Shop, recorder: Recorder) -> list[Any]:
    """Search for a word. Return the products found."""
    call = shop.products.SearchProducts(product_pb2.SearchProductsRequest(query=shop.rng.choice(WORDS)))
    return await measured_list(recorder, "product", "SearchProducts", call) or []


async def order(
    shop: Shop, recorder: Recorder, user_id: int, cart: list[tuple[int, int]], metadata: Metadata
) -> Any:
    """Order a cart of products and quantities. Return the order, or None if that fails."""
    request = order_request(user_id, cart, uuid.uuid4().hex)
    call = shop.orders.CreateOrder(request, metadata=metadata, timeout=CHECKOUT_TIMEOUT)
    response = await measured(recorder, "order", "CreateOrder", call)
    return None if response is None else response.order


async def until_settled(shop: Shop, recorder: Recorder, order_id: int, metadata: Metadata) -> None:
    """Follow an order from its beginning until it is confirmed or cancelled."""
    settled = (order_pb2.ORDER_STATUS_CONFIRMED, order_pb2.ORDER_STATUS_CANCELLED)
    await _follow(shop, recorder, order_id, metadata, settled)


async def watch(shop: Shop, recorder: Recorder, order_id: int, metadata: Metadata) -> None:
    """Follow an order for a while. The sample is the time to the first update of its history."""
    await _follow(shop, recorder, order_id, metadata, tuple(order_pb2.OrderStatus.values()), STAY)


async def _follow(
    shop: Shop, recorder: Recorder, order_id: int, metadata: Metadata, wanted: Sequence[int], stay: float = 0
) -> None:
    """Record when the first update with a wanted status arrives, and stay for `stay` seconds after that."""

    def after(cursor: int) -> Any:
        request = order_pb2.GetOrderRequest(id=order_id, after_cursor=cursor)
        return shop.orders.StreamOrderUpdates(request, metadata=metadata)

    following = Following(after, 1)
    async with aclosing(following.messages()) as updates:
        code = await _until(updates, wanted)
        assert following.call is not None
        await record(recorder, "order", "StreamOrderUpdates", following.call, code)
        if code == "OK":
            await asyncio.sleep(stay)


async def _until(updates: AsyncIterator[Any], wanted: Sequence[int]) -> str:
    """Return the status code of waiting for a wanted status."""
    try:
        async with asyncio.timeout(CHECKOUT_TIMEOUT):
            async for update in updates:
                if update.status in wanted:
                    return "OK"
    except TimeoutError:
        return "DEADLINE_EXCEEDED"
    except grpc.aio.AioRpcError as e:
        return e.code().name
    return "OUT_OF_RANGE"  # the stream has ended without such an update


async def talk(shop: Shop, recorder: Recorder, metadata: Metadata) -> None:
    """Join the room by `Chat`, post a message with a key of its own, and wait until the room repeats it."""
    message = chat_pb2.ChatMessage(
        room_id=ROOM,
        text=f"Has anybody tried the {shop.rng.choice(WORDS)} one?",
        idempotency_key=uuid.uuid4().hex,
    )
    call = shop.chat.Chat(iter([message]), metadata=metadata, timeout=CHECKOUT_TIMEOUT)
    code = "OK"
    try:
        async for said in call:
            if said.text == message.text:
                break
    except grpc.aio.AioRpcError as e:
        code = e.code().name
    call.cancel()
    await record(recorder, "chat", "Chat", call, code)
