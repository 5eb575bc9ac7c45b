"""What every journey through the shop uses."""

import random
from collections.abc import Sequence
from typing import Any

from ecommerce import common_pb2, order_pb2
from ecommerce.chat_pb2_grpc import ChatServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub

from services.loadgen.calls import ChannelSource
from services.loadgen.session import Session

#: The demo users who buy and chat.
BUYERS = ("bob", "charlie", "alice")

ADDRESS = common_pb2.Address(street="1 Mesh Lane", city="Loopback", zip_code="12700", country="NL")


class Shop:
    """Stubs, buyers and a source of randomness.

    Args:
        channels: Channels into the mesh.
        rng: Draws what buyers do.
        buyers: Names of users whose password is `NAME-password`.
    """

    def __init__(
        self, channels: ChannelSource, rng: random.Random | None = None, buyers: Sequence[str] = BUYERS
    ) -> None:
        self.rng = rng or random.Random()
        self.products: Any = ProductServiceStub(channels("product"))
        self.orders: Any = OrderServiceStub(channels("order"))
        self._channels = channels
        self._chat: Any = None
        self._sessions = [Session(channels, name) for name in buyers]

    @property
    def chat(self) -> Any:
        """Return the chat stub.

        It is created at its first use, so that a shop without chat can be loaded, too.
        """
        if self._chat is None:
            self._chat = ChatServiceStub(self._channels("chat"))
        return self._chat

    def buyer(self) -> Session:
        """Return a random buyer."""
        return self.rng.choice(self._sessions)

    @property
    def buyers(self) -> Sequence[Session]:
        """Return all buyers."""
        return self._sessions


def order_request(user_id: int, cart: Sequence[tuple[int, int]], key: str) -> order_pb2.CreateOrderRequest:
    """Return a request to order products and quantities, paid from the wallet on file."""
    items = [order_pb2.OrderItem(product_id=product, quantity=quantity) for product, quantity in cart]
    return order_pb2.CreateOrderRequest(
        user_id=user_id, items=items, shipping_address=ADDRESS, idempotency_key=key
    )
