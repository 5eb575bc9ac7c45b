"""Implements the ports of `domain` with the product, order, user and notification services, through
the mesh.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from ecommerce import common_pb2, notification_pb2, order_pb2, user_pb2
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from services.storefront import convert
from services.storefront.calls import READ_TIMEOUT, WRITE_TIMEOUT, Caller, next_token
from services.storefront.catalogue import Catalogue
from services.storefront.domain import (
    Address,
    Card,
    Listed,
    Notice,
    Order,
    Place,
    Problem,
    Shop,
    ShopError,
    Status,
    Tokens,
    Update,
    Updates,
)
from services.storefront.exchange import Exchange, Metadata


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

        async def ask(metadata: Metadata) -> order_pb2.CreateOrderResponse:
            return await self._caller.unary_again(
                "order",
                "CreateOrder",
                lambda: self._stub.CreateOrder(request, timeout=WRITE_TIMEOUT, metadata=metadata),
            )

        return convert.order((await self._exchange.on_behalf("order", token, ask)).order)

    async def order(self, token: str, order_id: int) -> Order:
        request = order_pb2.GetOrderRequest(id=order_id)

        async def ask(metadata: Metadata) -> order_pb2.GetOrderResponse:
            call = self._stub.GetOrder(request, timeout=READ_TIMEOUT, metadata=metadata)
            return await self._caller.unary("order", "GetOrder", call)

        return convert.order((await self._exchange.on_behalf("order", token, ask)).order)

    async def page(self, token: str, user_id: int, place: Place, size: int) -> Listed[Order]:
        request = order_pb2.ListOrdersRequest(
            user_id=user_id, page=convert.page_number(place), page_size=size, page_token=place.token
        )

        async def ask(metadata: Metadata) -> Listed[Order]:
            call = self._stub.ListOrders(request, timeout=READ_TIMEOUT, metadata=metadata)
            found = await self._caller.collect("order", "ListOrders", call, size)
            return Listed([convert.order(o) for o in found], await next_token(call))

        return await self._exchange.on_behalf("order", token, ask)

    async def set_status(self, token: str, order_id: int, status: Status) -> Order:
        request = order_pb2.UpdateOrderStatusRequest(id=order_id, status=convert.status_to_wire(status))

        async def ask(metadata: Metadata) -> order_pb2.UpdateOrderStatusResponse:
            call = self._stub.UpdateOrderStatus(request, timeout=WRITE_TIMEOUT, metadata=metadata)
            return await self._caller.unary("order", "UpdateOrderStatus", call)

        return convert.order((await self._exchange.on_behalf("order", token, ask)).order)

    @asynccontextmanager
    async def follow(self, token: str, order_id: int, after_cursor: int) -> AsyncIterator[Updates]:
        request = order_pb2.GetOrderRequest(id=order_id, after_cursor=after_cursor)
        call = self._stub.StreamOrderUpdates(request, metadata=await self._exchange.bearer("order", token))
        try:
            yield _Updates(call, self._caller.stream(call))
        except ShopError as e:
            if e.problem is not Problem.LOGIN:
                raise
            raise await self._exchange.refused("order", token) from e
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

        async def ask(metadata: Metadata) -> list[notification_pb2.Notification]:
            call = self._stub.ListNotifications(request, timeout=READ_TIMEOUT, metadata=metadata)
            return await self._caller.collect("notification", "ListNotifications", call, size)

        return [convert.notice(n) for n in await self._exchange.on_behalf("notification", token, ask)]


def shop(channel: Callable[[str], grpc.aio.Channel], caller: Caller, narrows: bool = True) -> Shop:
    """Return all ports over the mesh.

    Args:
        channel: Returns the channel to a service: `App.channel`.
        caller: Makes the calls and records the trail.
        narrows: Whether each service is sent a token of its own: see `Exchange`.
    """
    exchange = Exchange(channel("user"), caller, narrows=narrows)
    return Shop(
        Catalogue(channel("product"), caller),
        Orders(channel("order"), caller, exchange),
        Accounts(channel("user"), caller, exchange),
        Notices(channel("notification"), caller, exchange),
    )


def _address(address: Address) -> common_pb2.Address:
    return common_pb2.Address(
        street=address.street,
        city=address.city,
        state=address.state,
        zip_code=address.zip_code,
        country=address.country,
    )
