"""Implements the ports of `domain` with the product, order, user and notification services, through
the mesh.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from ecommerce import common_pb2, notification_pb2, order_pb2, product_pb2, user_pb2
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from services.storefront import convert
from services.storefront.calls import Caller
from services.storefront.domain import (
    Address,
    Card,
    Category,
    Listed,
    Notice,
    Order,
    Place,
    Product,
    Shop,
    Status,
    Tokens,
    Update,
    Updates,
)
from services.storefront.exchange import Exchange

T = TypeVar("T")

#: Timeout of a read, in seconds.
READ_TIMEOUT = 3.0
#: Timeout of a change or a log-in, in seconds. It covers an order with its stock and its payment.
WRITE_TIMEOUT = 10.0


class Catalogue:
    """The `domain.Catalogue` that calls ProductService. It sends no token: browsing needs none."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub, self._caller = ProductServiceStub(channel), caller

    async def product(self, product_id: int) -> Product:
        request = product_pb2.GetProductRequest(id=product_id)
        call = self._stub.GetProduct(request, timeout=READ_TIMEOUT)
        return convert.product((await self._caller.unary("product", "GetProduct", call)).product)

    async def by_ids(self, product_ids: Sequence[int]) -> Mapping[int, Product]:
        request = product_pb2.GetProductsRequest(ids=product_ids)
        call = self._stub.GetProducts(request, timeout=READ_TIMEOUT)
        found = (await self._caller.unary("product", "GetProducts", call)).products
        return {p.id: convert.product(p) for p in found}

    async def page(self, place: Place, size: int, category: Category | None) -> Listed[Product]:
        request = product_pb2.ListProductsRequest(
            page=_number(place),
            page_size=size,
            category=convert.category_to_wire(category),
            page_token=place.token,
        )
        call = self._stub.ListProducts(request, timeout=READ_TIMEOUT)
        found = await self._caller.collect("product", "ListProducts", call, size)
        return Listed([convert.product(p) for p in found], await _next_token(call))

    async def search(
        self, query: str, category: Category | None, min_cents: int, max_cents: int, limit: int
    ) -> list[Product]:
        request = product_pb2.SearchProductsRequest(
            query=query,
            category=convert.category_to_wire(category),
            min_price=min_cents / 100,
            max_price=max_cents / 100,
        )
        call = self._stub.SearchProducts(request, timeout=READ_TIMEOUT)
        found = await self._caller.collect("product", "SearchProducts", call, limit)
        return [convert.product(p) for p in found]


@dataclass(frozen=True, slots=True)
class _Updates:
    call: "grpc.aio.UnaryStreamCall[order_pb2.GetOrderRequest, order_pb2.OrderUpdate]"
    messages: AsyncIterator[order_pb2.OrderUpdate]

    @property
    def endpoint(self) -> str | None:
        return getattr(self.call, "endpoint", None)

    async def __aiter__(self) -> AsyncIterator[Update]:
        async for message in self.messages:
            yield convert.update(message)


class Orders:
    """The `domain.Orders` that calls OrderService, on behalf of the token's user."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, exchange: Exchange) -> None:
        self._stub, self._caller, self._exchange = OrderServiceStub(channel), caller, exchange

    async def create(
        self,
        token: str,
        user_id: int,
        quantities: Sequence[tuple[int, int]],
        address: Address,
        card: Card | None,
        key: str,
        expected_cents: int | None = None,
    ) -> Order:
        request = order_pb2.CreateOrderRequest(
            user_id=user_id,
            items=[order_pb2.OrderItem(product_id=p, quantity=q) for p, q in quantities],
            shipping_address=_address(address),
            idempotency_key=key,
            payment=convert.card_to_wire(card) if card else None,
            expected_total=None if expected_cents is None else expected_cents / 100,
        )

        metadata = await self._exchange.bearer("order", token)

        def attempt() -> (
            "grpc.aio.UnaryUnaryCall[order_pb2.CreateOrderRequest, order_pb2.CreateOrderResponse]"
        ):
            return self._stub.CreateOrder(request, timeout=WRITE_TIMEOUT, metadata=metadata)

        response = await self._caller.unary_again("order", "CreateOrder", attempt)
        return convert.order(response.order)

    async def order(self, token: str, order_id: int) -> Order:
        request = order_pb2.GetOrderRequest(id=order_id)
        call = self._stub.GetOrder(
            request, timeout=READ_TIMEOUT, metadata=await self._exchange.bearer("order", token)
        )
        return convert.order((await self._caller.unary("order", "GetOrder", call)).order)

    async def page(self, token: str, user_id: int, place: Place, size: int) -> Listed[Order]:
        request = order_pb2.ListOrdersRequest(
            user_id=user_id, page=_number(place), page_size=size, page_token=place.token
        )
        call = self._stub.ListOrders(
            request, timeout=READ_TIMEOUT, metadata=await self._exchange.bearer("order", token)
        )
        found = await self._caller.collect("order", "ListOrders", call, size)
        return Listed([convert.order(o) for o in found], await _next_token(call))

    async def set_status(self, token: str, order_id: int, status: Status) -> Order:
        request = order_pb2.UpdateOrderStatusRequest(id=order_id, status=convert.status_to_wire(status))
        call = self._stub.UpdateOrderStatus(
            request, timeout=WRITE_TIMEOUT, metadata=await self._exchange.bearer("order", token)
        )
        return convert.order((await self._caller.unary("order", "UpdateOrderStatus", call)).order)

    @asynccontextmanager
    async def follow(self, token: str, order_id: int, after_cursor: int) -> AsyncIterator[Updates]:
        request = order_pb2.GetOrderRequest(id=order_id, after_cursor=after_cursor)
        call = self._stub.StreamOrderUpdates(request, metadata=await self._exchange.bearer("order", token))
        try:
            yield _Updates(call, self._caller.stream(call))
        finally:
            call.cancel()


class Accounts:
    """The `domain.Accounts` that calls UserService."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, exchange: Exchange) -> None:
        self._stub, self._caller, self._exchange = UserServiceStub(channel), caller, exchange

    async def login(self, login: str, password: str, address: str) -> Tokens:
        request = user_pb2.LoginRequest(login=login, password=password, client_address=address)
        call = self._stub.Login(request, timeout=WRITE_TIMEOUT)
        response = await self._caller.unary("user", "Login", call)
        return Tokens(response.access_token, response.refresh_token)

    async def refresh(self, refresh_token: str) -> Tokens:
        request = user_pb2.RefreshTokenRequest(refresh_token=refresh_token)

        def attempt() -> (
            "grpc.aio.UnaryUnaryCall[user_pb2.RefreshTokenRequest, user_pb2.RefreshTokenResponse]"
        ):
            return self._stub.RefreshToken(request, timeout=READ_TIMEOUT)

        response = await self._caller.unary_again("user", "RefreshToken", attempt)
        return Tokens(response.access_token, response.refresh_token)

    async def logout(self, refresh_token: str) -> None:
        request = user_pb2.LogoutRequest(refresh_token=refresh_token)
        await self._caller.unary("user", "Logout", self._stub.Logout(request, timeout=READ_TIMEOUT))

    async def register(self, name: str, email: str, password: str, address: str) -> None:
        request = user_pb2.CreateUserRequest(
            name=name, email=email, password=password, client_address=address
        )
        call = self._stub.CreateUser(request, timeout=WRITE_TIMEOUT)
        await self._caller.unary("user", "CreateUser", call)

    async def change_password(self, token: str, current: str, new: str, address: str) -> Tokens:
        request = user_pb2.ChangePasswordRequest(
            current_password=current, new_password=new, client_address=address
        )
        call = self._stub.ChangePassword(
            request, timeout=WRITE_TIMEOUT, metadata=await self._exchange.bearer("user", token)
        )
        response = await self._caller.unary("user", "ChangePassword", call)
        return Tokens(response.access_token, response.refresh_token)

    async def forgotten_password(self, login: str, address: str) -> None:
        request = user_pb2.RequestPasswordResetRequest(login=login, client_address=address)
        call = self._stub.RequestPasswordReset(request, timeout=WRITE_TIMEOUT)
        await self._caller.unary("user", "RequestPasswordReset", call)

    async def reset_password(self, code: str, new: str, address: str) -> None:
        request = user_pb2.ResetPasswordRequest(code=code, new_password=new, client_address=address)
        call = self._stub.ResetPassword(request, timeout=WRITE_TIMEOUT)
        await self._caller.unary("user", "ResetPassword", call)

    async def delete(self, token: str, user_id: int, password: str, address: str) -> None:
        request = user_pb2.DeleteUserRequest(id=user_id, current_password=password, client_address=address)
        call = self._stub.DeleteUser(
            request, timeout=WRITE_TIMEOUT, metadata=await self._exchange.bearer("user", token)
        )
        await self._caller.unary("user", "DeleteUser", call)


class Notices:
    """The `domain.Notices` that calls NotificationService."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller, exchange: Exchange) -> None:
        self._stub, self._caller, self._exchange = NotificationServiceStub(channel), caller, exchange

    async def latest(self, token: str, user_id: int, size: int) -> list[Notice]:
        request = notification_pb2.ListNotificationsRequest(user_id=user_id, page_size=size)
        call = self._stub.ListNotifications(
            request, timeout=READ_TIMEOUT, metadata=await self._exchange.bearer("notification", token)
        )
        found = await self._caller.collect("notification", "ListNotifications", call, size)
        return [convert.notice(n) for n in found]


def shop(channel: Callable[[str], grpc.aio.Channel], caller: Caller) -> Shop:
    """Return all ports over the mesh.

    Args:
        channel: Returns the channel to a service: `App.channel`.
        caller: Makes the calls and records the trail.
    """
    exchange = Exchange(channel("user"), caller)
    return Shop(
        Catalogue(channel("product"), caller),
        Orders(channel("order"), caller, exchange),
        Accounts(channel("user"), caller, exchange),
        Notices(channel("notification"), caller, exchange),
    )


def _number(place: Place) -> int:
    return 0 if place.token else place.page


async def _next_token(call: "grpc.aio.UnaryStreamCall[Any, Any]") -> str:
    """Return the token of the next page from the trailing metadata of a finished call."""
    told = dict(await call.trailing_metadata() or ())
    token = told.get("next-page-token", "")
    return token if isinstance(token, str) else ""


def _address(address: Address) -> common_pb2.Address:
    return common_pb2.Address(
        street=address.street,
        city=address.city,
        state=address.state,
        zip_code=address.zip_code,
        country=address.country,
    )
