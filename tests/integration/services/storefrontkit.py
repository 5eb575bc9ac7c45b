"""A scripted shop for the storefront's adapters: services on real MeshServers with mutual TLS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import grpc
from ecommerce import notification_pb2, order_pb2, product_pb2, user_pb2
from ecommerce.notification_pb2_grpc import (
    NotificationServiceServicer,
    add_NotificationServiceServicer_to_server,
)
from ecommerce.order_pb2_grpc import OrderServiceServicer, add_OrderServiceServicer_to_server
from ecommerce.product_pb2_grpc import ProductServiceServicer, add_ProductServiceServicer_to_server
from ecommerce.user_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.call import current_workload
from grpcmesh.client.channel import MeshChannel
from grpcmesh.clock import monotonic
from grpcmesh.config import BalancerConfig, IdentityConfig, MeshConfig
from grpcmesh.errors import (
    MeshError,
    Unauthenticated,
    Unavailable,
)
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityLayer, IdentityStore
from grpcmesh.server.server import MeshServer
from grpcmesh.testing.resolver import FakeResolver
from services.storefront.calls import Caller
from services.storefront.clients import shop
from services.storefront.domain import Shop


def product_of(number: int) -> product_pb2.Product:
    category = product_pb2.PRODUCT_CATEGORY_BOOKS
    return product_pb2.Product(id=number, name="Book", price=19.99, stock=3, category=category)


#: Errors that a scripted service raises, one a call, before it answers.
Script = list[MeshError]


class Products(ProductServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script
        self.callers: list[str] = []

    async def GetProduct(self, request: product_pb2.GetProductRequest, context: Any) -> Any:
        self.callers.append(str(current_workload()))
        if self.script:
            raise self.script.pop(0)
        return product_pb2.GetProductResponse(product=product_of(request.id))

    async def GetProducts(self, request: product_pb2.GetProductsRequest, context: Any) -> Any:
        return product_pb2.GetProductsResponse(products=[product_of(i) for i in request.ids if i < 100])

    async def ListProducts(self, request: Any, context: Any) -> AsyncIterator[product_pb2.Product]:
        first = int(request.page_token or request.page)
        if first < 30:
            context.set_trailing_metadata((("next-page-token", str(first + request.page_size)),))
        for n in range(first, first + request.page_size):
            yield product_of(n)

    async def SearchProducts(self, request: Any, context: Any) -> AsyncIterator[product_pb2.Product]:
        for n in range(1, 1000):
            yield product_of(n)


class Orders(OrderServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[order_pb2.CreateOrderRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.followed: list[int] = []

    async def CreateOrder(self, request: order_pb2.CreateOrderRequest, context: Any) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.script:
            raise self.script.pop(0)
        status = order_pb2.ORDER_STATUS_CONFIRMED
        order = order_pb2.Order(id=7, user_id=2, total_amount=19.99, status=status, cursor=3)
        return order_pb2.CreateOrderResponse(order=order)

    async def StreamOrderUpdates(
        self, request: order_pb2.GetOrderRequest, context: Any
    ) -> AsyncIterator[order_pb2.OrderUpdate]:
        self.followed.append(request.after_cursor)
        yield order_pb2.OrderUpdate(order_id=7, status=order_pb2.ORDER_STATUS_SHIPPED, message="m", cursor=4)
        raise Unavailable("leaving")

    async def GetOrder(self, request: order_pb2.GetOrderRequest, context: Any) -> Any:
        self.metadata.append(dict(context.invocation_metadata()))
        if self.script:
            raise self.script.pop(0)
        return order_pb2.GetOrderResponse(order=order_pb2.Order(id=request.id, status=1))


class Users(UserServiceServicer):
    def __init__(self) -> None:
        self.exchanges = 0
        self.refuses = False

    async def Login(self, request: user_pb2.LoginRequest, context: Any) -> Any:
        raise Unauthenticated("no")

    async def ExchangeToken(self, request: user_pb2.ExchangeTokenRequest, context: Any) -> Any:
        self.exchanges += 1
        if self.refuses:
            raise Unauthenticated("revoked")
        own = dict(context.invocation_metadata())["authorization"].removeprefix("Bearer ")
        return user_pb2.ExchangeTokenResponse(access_token=f"{own}-for-{request.service}", expires_in=900)


class Notifications(NotificationServiceServicer):
    async def ListNotifications(
        self, request: notification_pb2.ListNotificationsRequest, context: Any
    ) -> AsyncIterator[notification_pb2.Notification]:
        for n in range(request.page_size):
            yield notification_pb2.Notification(title=f"{n} for {request.user_id}", body="b")


class Older:
    """A server on which the methods are missing that its release did not have yet.

    Args:
        server: Gets the others.
        lacks: Names of methods.
    """

    def __init__(self, server: MeshServer, lacks: Collection[str]) -> None:
        self._server, self._lacks = server, lacks

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """The same handlers come once more, by name."""

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        kept = {name: handler for name, handler in handlers.items() if name not in self._lacks}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, kept),))


class Mesh:
    """Scripted services behind mesh servers, and the storefront's adapters on channels to them.

    Args:
        directory: For certificates.
        lacks: Methods that the services do not have.
    """

    def __init__(self, directory: Path, lacks: Collection[str] = ()) -> None:
        self.directory, self.ca, self.lacks = directory, CertificateAuthority(), lacks
        self.script: Script = []
        self.products, self.orders, self.users = Products(self.script), Orders(self.script), Users()
        self.servers: list[MeshServer] = []
        self.channels: dict[str, MeshChannel] = {}
        self.shop: Shop

    async def start(self) -> None:
        identity = self._identity("storefront")
        config = MeshConfig("storefront", balancer=BalancerConfig(slow_start=0.0))
        for name, add, servicer, replicas in (
            ("product", add_ProductServiceServicer_to_server, self.products, 2),
            ("order", add_OrderServiceServicer_to_server, self.orders, 1),
            ("user", add_UserServiceServicer_to_server, self.users, 1),
            ("notification", add_NotificationServiceServicer_to_server, Notifications(), 1),
        ):
            endpoints = [await self._serve(name, n, add, servicer) for n in range(1, replicas + 1)]
            resolver = FakeResolver(*endpoints)
            self.channels[name] = MeshChannel(name, config, identity=identity, resolver=resolver)
        self.shop = shop(self.channels.__getitem__, Caller(monotonic))

    async def both_replicas(self) -> None:
        """Waits until both replicas of product are in rotation: the first is picked from once it is ready."""
        channel = self.channels["product"]
        await channel.start()
        async with asyncio.timeout(20):
            while [e["state"] for e in channel.state()["endpoints"]] != ["ready", "ready"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for channel in self.channels.values():
            await channel.close(0)
        for server in self.servers:
            await server.stop(0)

    async def _serve(self, name: str, number: int, add: Callable[..., None], servicer: Any) -> str:
        config = MeshConfig(name, replica=f"{name}-{number}", address="127.0.0.1:0")
        identity = self._identity(name)
        layers, health = [IdentityLayer("cluster.local", identity)], HealthServicer()
        server = MeshServer(config, identity=identity, layers=layers, health=health)
        add(servicer, Older(server, self.lacks) if self.lacks else server)
        await server.start()
        health.set_all(True)
        self.servers.append(server)
        return f"127.0.0.1:{server.port}"

    def _identity(self, name: str) -> IdentityStore:
        directory = self.directory / name
        write_atomically(directory, self.ca.issue(name).files())
        store = IdentityStore(IdentityConfig(directory))
        store.load()
        return store
