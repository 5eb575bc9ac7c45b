"""What buyers do. Each journey is one arrival of the load; issue B adds more of them."""

import random
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import grpc
from ecommerce import common_pb2, order_pb2, product_pb2, user_pb2
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from services.loadgen.engine import Journey, Recorder

#: What `ChannelSource` gives: the mesh's `Member.channel`, or anything else that makes grpc.aio channels.
ChannelSource = Callable[[str], grpc.aio.Channel]


class _Call(Protocol):
    def __await__(self) -> Any: ...

    async def trailing_metadata(self) -> Any: ...


async def measured(recorder: Recorder, target: str, method: str, call: _Call) -> Any:
    """Awaits a call and records it; None where it failed."""
    code, response = "OK", None
    try:
        response = await call
    except grpc.aio.AioRpcError as e:
        code = e.code().name
    recorder.record(target, method, code, await _answered_by(call), getattr(call, "attempts", 1))
    return response


async def _answered_by(call: _Call) -> str | None:
    """The endpoint of a mesh call; what the server says of itself where the client is plain grpc."""
    if hasattr(call, "endpoint"):
        return str(call.endpoint) if call.endpoint else None
    for key, value in await call.trailing_metadata() or ():
        if key == "mesh-replica":
            return str(value)
    return None


def browse(channels: ChannelSource, products: int = 20, rng: random.Random | None = None) -> Journey:
    """Looks at one product of the first `products`."""
    rng = rng or random.Random()
    stub = ProductServiceStub(channels("product"))

    async def journey(recorder: Recorder) -> None:
        request = product_pb2.GetProductRequest(id=rng.randint(1, products))
        await measured(recorder, "product", "GetProduct", stub.GetProduct(request))

    return journey


async def login(channels: ChannelSource, name: str, password: str) -> user_pb2.LoginResponse:
    """Logs in; raises grpc.aio.AioRpcError where that fails."""
    request = user_pb2.LoginRequest(login=name, password=password)
    return await UserServiceStub(channels("user")).Login(request)


async def checkout(channels: ChannelSource, rng: random.Random | None = None) -> Journey:
    """Looks at a product and buys it, as bob."""
    rng = rng or random.Random()
    session = await login(channels, "bob", "bob-password")
    products, orders = ProductServiceStub(channels("product")), OrderServiceStub(channels("order"))
    metadata = (("authorization", f"Bearer {session.access_token}"),)

    async def journey(recorder: Recorder) -> None:
        product_id = rng.randint(1, 10)
        seen = products.GetProduct(product_pb2.GetProductRequest(id=product_id))
        if await measured(recorder, "product", "GetProduct", seen) is None:
            return
        request = order_pb2.CreateOrderRequest(
            user_id=session.user.id,
            items=[order_pb2.OrderItem(product_id=product_id, quantity=1)],
            shipping_address=common_pb2.Address(
                street="1 Mesh Lane", city="Loopback", zip_code="12700", country="NL"
            ),
            idempotency_key=uuid.uuid4().hex,
        )
        call = orders.CreateOrder(request, metadata=metadata, timeout=10)
        await measured(recorder, "order", "CreateOrder", call)

    return journey


async def _browse(channels: ChannelSource) -> Journey:
    return browse(channels)


#: By the name that `meshmart load --scenario` takes.
SCENARIOS: dict[str, Callable[[ChannelSource], Awaitable[Journey]]] = {
    "browse": _browse,
    "checkout": checkout,
}
