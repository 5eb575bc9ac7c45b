"""Listings over the wire, page by page with their tokens, while rows are added."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from ecommerce import chat_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2, user_pb2
from ecommerce.chat_pb2_grpc import ChatServiceStub
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.payment_pb2_grpc import PaymentServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from services.kit.db import Database
from services.order.domain import Address, Line, Order
from services.order.storage import SqlStore as OrderStore
from tests.databases import Databases, Maker

from .replicakit import Metadata, fleet
from .servicekit import MAKERS
from .shopkit import refused

SIZE = 10
NOW = 1_767_225_600.0


@dataclass(frozen=True)
class Listing:
    """A listing, how a row is added to it, and a field of a message that grows with that."""

    service: str
    stub: Callable[[Any], Any]
    method: str
    request: Callable[..., Any]
    add: Callable[[Any, Metadata, Databases, int], Awaitable[object]]
    newest_first: bool = True
    key: str = "id"


async def _product(stub: Any, admin: Metadata, _: Databases, n: int) -> object:
    return await stub.CreateProduct(product_pb2.CreateProductRequest(name=f"p{n}", price=1), metadata=admin)


async def _movement(stub: Any, admin: Metadata, _: Databases, n: int) -> object:
    kind = product_pb2.STOCK_MOVEMENT_KIND_RECEIVE
    request = product_pb2.AdjustStockRequest(product_id=1, change=1, kind=kind)
    return await stub.AdjustStock(request, metadata=admin)


async def _order(_: Any, admin: Metadata, databases: Databases, n: int) -> object:
    order = Order(0, 1, (Line(1, 1),), Address(), None, True, NOW, NOW, 1e12)
    async with Database.open(databases.url("order"), "order") as db:
        return await OrderStore(db).create(order)


async def _payment(stub: Any, admin: Metadata, _: Databases, n: int) -> object:
    wallet = payment_pb2.DigitalWallet(wallet_id="w", provider="p")
    request = payment_pb2.PaymentRequest(order_id=n + 1, amount=1, digital_wallet=wallet)
    return await stub.ProcessPayment(request, metadata=admin)


async def _user(stub: Any, admin: Metadata, _: Databases, n: int) -> object:
    request = user_pb2.CreateUserRequest(name=f"user{n}", email=f"u{n}@example.com", password="correct horse")
    return await stub.CreateUser(request, metadata=admin)


async def _notification(stub: Any, admin: Metadata, _: Databases, n: int) -> object:
    kind = notification_pb2.NOTIFICATION_KIND_SYSTEM
    request = notification_pb2.NotificationRequest(user_id=1, kind=kind, title=f"t{n}", body="b")
    return await stub.SendNotification(request, metadata=admin)


async def _message(stub: Any, admin: Metadata, _: Databases, n: int) -> object:
    said = chat_pb2.ChatMessage(room_id="tea", text=f"m{n}")
    return await stub.SendMessage(iter([said]), metadata=admin)


LISTINGS = [
    Listing(
        "product",
        ProductServiceStub,
        "ListProducts",
        product_pb2.ListProductsRequest,
        _product,
        newest_first=False,
    ),
    Listing(
        "product",
        ProductServiceStub,
        "ListStockMovements",
        lambda **asked: product_pb2.ListStockMovementsRequest(product_id=1, **asked),
        _movement,
    ),
    Listing("order", OrderServiceStub, "ListOrders", order_pb2.ListOrdersRequest, _order),
    Listing(
        "payment", PaymentServiceStub, "GetPaymentHistory", payment_pb2.GetPaymentHistoryRequest, _payment
    ),
    Listing("user", UserServiceStub, "ListUsers", user_pb2.ListUsersRequest, _user, newest_first=False),
    Listing(
        "notification",
        NotificationServiceStub,
        "ListNotifications",
        lambda **asked: notification_pb2.ListNotificationsRequest(user_id=1, **asked),
        _notification,
    ),
    Listing(
        "chat",
        ChatServiceStub,
        "GetRoomHistory",
        lambda **asked: chat_pb2.GetRoomHistoryRequest(room_id="tea", **asked),
        _message,
        newest_first=False,
        key="cursor",
    ),
]


async def _page(call: Any) -> tuple[list[Any], str]:
    """The messages of a page, and the token of the next one."""
    messages = [message async for message in call]
    return messages, dict(await call.trailing_metadata()).get("next-page-token", "")


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.method)
async def test_a_listing_is_read_whole_with_its_tokens_while_rows_are_added(
    listing: Listing, new_databases: Maker, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        databases = new_databases(listing.service)
        make = MAKERS[listing.service](databases.url(listing.service))
        service = await stack.enter_async_context(fleet(listing.service, tmp_path, make, replicas=1))
        stub, admin = listing.stub(service.channel()), service.token(1, "alice", "user", "admin")
        method = getattr(stub, listing.method)

        def page(**asked: Any) -> Any:
            return method(listing.request(page_size=SIZE, **asked), metadata=admin, timeout=20)

        for n in range(3 * SIZE):
            await listing.add(stub, admin, databases, n)
        seen, token, n = list[int](), "", 3 * SIZE
        while True:
            messages, token = await _page(page(page_token=token))
            seen += [getattr(message, listing.key) for message in messages]
            if not token:
                break
            assert len(messages) == SIZE
            if n < 3 * SIZE + 3:
                await listing.add(stub, admin, databases, n)
                n += 1
        assert seen == sorted(set(seen), reverse=listing.newest_first)
        # What was added meanwhile comes before the first page, or after the last.
        assert len(seen) >= 3 * SIZE
        numbered = [getattr(m, listing.key) for m in (await _page(page(page=1)))[0]]
        assert (numbered == seen[:SIZE]) == (not listing.newest_first)
        for wrong in ({"page_token": "abc"}, {"page_token": "!"}, {"page_token": token or "AAAA", "page": 2}):
            answer = await refused(page(**wrong))
            assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "page_token" in str(answer)
