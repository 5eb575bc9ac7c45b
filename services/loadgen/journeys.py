"""The journeys of visitors through the shop. Each is one arrival of the load."""

import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ecommerce import chat_pb2, order_pb2, product_pb2
from ecommerce.product_pb2_grpc import ProductServiceStub

from services.loadgen import steps
from services.loadgen.calls import ChannelSource, measured, measured_list
from services.loadgen.engine import Journey, Recorder
from services.loadgen.session import login
from services.loadgen.shop import Shop

PAGE_SIZE = 12
#: The weight of each journey in a `mix`: most visitors look, some buy.
WEIGHTS = {"browse": 40, "search": 25, "buy": 15, "follow": 10, "chat": 10}


def view(channels: ChannelSource, products: int = 20, rng: random.Random | None = None) -> Journey:
    """Return a journey that gets one of the first `products` products: a single cheap read, to measure the
    mesh.
    """
    rng = rng or random.Random()
    stub: Any = ProductServiceStub(channels("product"))

    async def journey(recorder: Recorder) -> None:
        request = product_pb2.GetProductRequest(id=rng.randint(1, products))
        await measured(recorder, "product", "GetProduct", stub.GetProduct(request))

    return journey


def catalogue(channels: ChannelSource, rng: random.Random | None = None) -> Journey:
    """Return a journey that reads by one of three methods in turn.

    A balancer with one rotation for all methods would send each method to only one of three replicas.
    """
    shop = Shop(channels, rng)
    calls = itertools.cycle((_one, _page, _found))

    async def journey(recorder: Recorder) -> None:
        await next(calls)(shop, recorder)

    return journey


async def _one(shop: Shop, recorder: Recorder) -> None:
    await steps.look(shop, recorder, shop.rng.randint(1, 10))


async def _page(shop: Shop, recorder: Recorder) -> None:
    call = shop.products.ListProducts(product_pb2.ListProductsRequest(page=1, page_size=1))
    await measured_list(recorder, "product", "ListProducts", call)


async def _found(shop: Shop, recorder: Recorder) -> None:
    await steps.search(shop, recorder)


async def checkout(channels: ChannelSource, rng: random.Random | None = None) -> Journey:
    """Return a journey that looks at a product and buys it, as bob, who logs in once at the beginning."""
    shop = Shop(channels, rng)
    session = await login(channels, "bob", "bob-password")
    metadata = (("authorization", f"Bearer {session.access_token}"),)

    async def journey(recorder: Recorder) -> None:
        product_id = shop.rng.randint(1, 10)
        if await steps.look(shop, recorder, product_id) is not None:
            await steps.order(shop, recorder, session.user.id, [(product_id, 1)], metadata)

    return journey


def browse(shop: Shop) -> Journey:
    """Return a journey that opens a page of the catalogue, and looks at one to three of its products."""

    async def journey(recorder: Recorder) -> None:
        request = product_pb2.ListProductsRequest(page=shop.rng.randint(1, 2), page_size=PAGE_SIZE)
        call = shop.products.ListProducts(request)
        page = await measured_list(recorder, "product", "ListProducts", call)
        await steps.look_at_some(shop, recorder, page or [])

    return journey


def search(shop: Shop) -> Journey:
    """Return a journey that searches for a word, and looks at one to three of the products found."""

    async def journey(recorder: Recorder) -> None:
        await steps.look_at_some(shop, recorder, await steps.search(shop, recorder))

    return journey


def buy(shop: Shop) -> Journey:
    """Return a journey that searches, looks, orders one to three products, and waits for the confirmation."""

    async def journey(recorder: Recorder) -> None:
        looked_at = await steps.look_at_some(shop, recorder, await steps.search(shop, recorder))
        cart = [(p.id, shop.rng.randint(1, 2)) for p in looked_at if p.stock > 1]
        buyer = shop.buyer()
        metadata = await buyer.metadata(recorder) if cart else None
        if metadata is None:
            return
        order = await steps.order(shop, recorder, buyer.user_id, cart, metadata)
        if order is not None:
            await steps.until_settled(shop, recorder, order.id, metadata)

    return journey


def follow(shop: Shop) -> Journey:
    """Return a journey that opens one of the latest orders and follows it for a while."""

    async def journey(recorder: Recorder) -> None:
        buyer = shop.buyer()
        metadata = await buyer.metadata(recorder)
        if metadata is None:
            return
        request = order_pb2.ListOrdersRequest(user_id=buyer.user_id, page_size=PAGE_SIZE)
        call = shop.orders.ListOrders(request, metadata=metadata)
        orders = await measured_list(recorder, "order", "ListOrders", call)
        if orders:
            await steps.watch(shop, recorder, shop.rng.choice(orders).id, metadata)

    return journey


def chat(shop: Shop) -> Journey:
    """Return a journey that reads the lobby's history, posts a message, and waits for it to appear."""

    async def journey(recorder: Recorder) -> None:
        buyer = shop.buyer()
        metadata = await buyer.metadata(recorder)
        if metadata is None:
            return
        request = chat_pb2.GetRoomHistoryRequest(room_id=steps.ROOM, page_size=PAGE_SIZE)
        call = shop.chat.GetRoomHistory(request, metadata=metadata)
        if await measured_list(recorder, "chat", "GetRoomHistory", call) is not None:
            await steps.talk(shop, recorder, metadata)

    return journey


def mix(journeys: Mapping[str, Journey], weights: Mapping[str, int], rng: random.Random) -> Journey:
    """Return a journey that makes one of the journeys at each arrival, according to their weights."""
    names = list(weights)
    shares = [weights[name] for name in names]

    async def journey(recorder: Recorder) -> None:
        await journeys[rng.choices(names, shares)[0]](recorder)

    return journey


def _alone(make: Callable[[Shop], Journey]) -> Callable[[ChannelSource], Awaitable[Journey]]:
    async def made(channels: ChannelSource) -> Journey:
        return make(Shop(channels))

    return made


async def _mix(channels: ChannelSource) -> Journey:
    shop = Shop(channels)
    return mix({name: make(shop) for name, make in _JOURNEYS.items()}, WEIGHTS, shop.rng)


async def _view(channels: ChannelSource) -> Journey:
    return view(channels)


async def _catalogue(channels: ChannelSource) -> Journey:
    return catalogue(channels)


_JOURNEYS: Mapping[str, Callable[[Shop], Journey]] = {
    "browse": browse,
    "search": search,
    "buy": buy,
    "follow": follow,
    "chat": chat,
}

#: The scenarios, by the name that `meshmart load --scenario` accepts.
SCENARIOS: Mapping[str, Callable[[ChannelSource], Awaitable[Journey]]] = {
    "mix": _mix,
    **{name: _alone(make) for name, make in _JOURNEYS.items()},
    "catalogue": _catalogue,
    "checkout": checkout,
    "view": _view,
}
