"""The storefront's adapters over real MeshChannels with mutual TLS: the trail, the errors, the retries."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
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
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    MeshError,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityLayer, IdentityStore
from grpcmesh.server.server import MeshServer
from grpcmesh.testing.resolver import FakeResolver
from services.storefront.calls import AGAIN, Caller
from services.storefront.cart_pages import priced
from services.storefront.clients import shop
from services.storefront.domain import Address, Card, Category, Place, Problem, Shop, ShopError, Status
from services.storefront.trail import Trail, current_trail

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
        return product_pb2.GetProductResponse(product=_product(request.id))

    async def GetProducts(self, request: product_pb2.GetProductsRequest, context: Any) -> Any:
        return product_pb2.GetProductsResponse(products=[_product(i) for i in request.ids if i < 100])

    async def ListProducts(self, request: Any, context: Any) -> AsyncIterator[product_pb2.Product]:
        first = int(request.page_token or request.page)
        if first < 30:
            context.set_trailing_metadata((("next-page-token", str(first + request.page_size)),))
        for n in range(first, first + request.page_size):
            yield _product(n)

    async def SearchProducts(self, request: Any, context: Any) -> AsyncIterator[product_pb2.Product]:
        for n in range(1, 1000):
            yield _product(n)


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


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    mesh = Mesh(tmp_path)
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.stop()


@pytest.fixture
async def older_mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Services of a release that had neither of these methods."""
    mesh = Mesh(tmp_path, ("GetProducts", "ExchangeToken", "Logout"))
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.stop()


@pytest.fixture
def trail() -> Trail:
    return Trail()


async def test_a_page_learns_who_answered_each_call(mesh: Mesh, trail: Trail) -> None:
    await mesh.both_replicas()
    current_trail.set(trail)
    product = await mesh.shop.catalogue.product(5)
    assert (product.price_cents, product.category) == (1999, Category.BOOKS)
    for n in range(3):
        await mesh.shop.catalogue.product(n + 1)
    assert {s.replica for s in trail.steps} == {"product-1", "product-2"}
    assert {s.endpoint for s in trail.steps} == {f"127.0.0.1:{s.port}" for s in mesh.servers[:2]}
    first = trail.steps[0]
    assert (first.target, first.method, first.code, first.attempts) == ("product", "GetProduct", "OK", 1)
    assert first.milliseconds > 0
    assert set(mesh.products.callers) == {"spiffe://cluster.local/ns/meshmart/sa/storefront"}


async def test_a_cart_is_asked_for_in_one_call(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    cart = await priced(mesh.shop.catalogue, [(1, 2), (100, 1), (3, 1)])
    assert [line.product.id if line.product else None for line in cart.lines] == [1, None, 3]
    assert [step.method for step in trail.steps] == ["GetProducts"]
    assert (await priced(mesh.shop.catalogue, [])).lines == ()
    assert len(trail.steps) == 1


async def test_a_cart_is_asked_for_one_by_one_where_a_replica_is_older(
    older_mesh: Mesh, trail: Trail
) -> None:
    current_trail.set(trail)
    older_mesh.script.append(NotFound("product", "one of them"))
    cart = await priced(older_mesh.shop.catalogue, [(n, 1) for n in range(1, 21)])
    assert sum(line.product is None for line in cart.lines) == 1
    assert next((s.method, s.code) for s in trail.steps) == ("GetProducts", "UNIMPLEMENTED")
    assert sorted(s.code for s in trail.steps[1:]) == ["NOT_FOUND", *["OK"] * 19]


async def test_a_cart_that_cannot_be_asked_for_one_by_one_either_fails_with_the_reason(
    older_mesh: Mesh,
) -> None:
    older_mesh.script += [ResourceExhausted("busy", 1.5)] * 40
    with pytest.raises(ShopError) as e:
        await priced(older_mesh.shop.catalogue, [(1, 1), (2, 1)])
    assert e.value.problem is Problem.BUSY


async def test_an_older_user_service_gets_the_visitors_own_token_sent_on(older_mesh: Mesh) -> None:
    await place(older_mesh)
    assert [m["authorization"] for m in older_mesh.orders.metadata] == ["Bearer TOKEN"]
    with pytest.raises(ShopError) as e:
        await older_mesh.shop.accounts.logout("REFRESH")
    assert e.value.problem is Problem.UNSUPPORTED


async def test_a_token_that_one_replica_refuses_is_exchanged_anew_and_tried_once_more(mesh: Mesh) -> None:
    mesh.script.append(Unauthenticated("wrong audience"))
    assert (await mesh.shop.orders.order("TOKEN", 7)).id == 7
    assert mesh.users.exchanges == 2
    assert {m["authorization"] for m in mesh.orders.metadata} == {"Bearer TOKEN-for-order"}


async def test_a_service_that_refuses_every_token_logs_nobody_out_and_never_gets_the_visitors_own(
    mesh: Mesh,
) -> None:
    mesh.script += [Unauthenticated("give me another")] * 20
    for _ in range(3):
        with pytest.raises(ShopError) as e:
            await mesh.shop.orders.order("TOKEN", 7)
        assert e.value.problem is Problem.UNSUPPORTED
    assert {m["authorization"] for m in mesh.orders.metadata} == {"Bearer TOKEN-for-order"}


async def test_a_token_that_the_user_service_refuses_is_the_end_of_the_session(mesh: Mesh) -> None:
    await mesh.shop.orders.order("TOKEN", 7)
    mesh.users.refuses = True
    mesh.script.append(Unauthenticated("revoked"))
    with pytest.raises(ShopError) as e:
        await mesh.shop.orders.order("TOKEN", 7)
    assert e.value.problem is Problem.LOGIN


async def test_a_listing_tells_the_token_of_its_next_page(mesh: Mesh) -> None:
    first = await mesh.shop.catalogue.page(Place(page=1), 20, None)
    second = await mesh.shop.catalogue.page(Place(page=2, token=first.next_token), 20, None)
    assert [p.id for p in (*first.items, *second.items)] == list(range(1, 41))
    assert (first.next_token, second.next_token) == ("21", "41")
    assert (await mesh.shop.catalogue.page(Place(token="41"), 20, None)).next_token == ""


async def test_a_retried_call_shows_its_attempts(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    mesh.script.append(Unavailable("not now"))
    await mesh.shop.catalogue.product(1)
    assert [(s.attempts, s.code) for s in trail.steps] == [(2, "OK")]


async def test_a_failed_call_stands_in_the_trail(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    mesh.script.append(NotFound("product", "5"))
    with pytest.raises(ShopError) as e:
        await mesh.shop.catalogue.product(5)
    assert e.value.problem is Problem.NOT_FOUND
    assert [(s.code, s.replica[:8]) for s in trail.steps] == [("NOT_FOUND", "product-")]


async def test_a_long_answer_is_cut_and_its_sender_still_known(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    async with asyncio.timeout(5):
        # Until both replicas have told their names: at first, one of them may still be connecting.
        while len({step.replica for step in trail.steps}) < 2:
            await mesh.shop.catalogue.product(1)
    found = await mesh.shop.catalogue.search("x", None, 0, 0, 10)
    assert [p.id for p in found] == list(range(1, 11))
    assert trail.steps[-1].code == "OK"
    assert trail.steps[-1].replica.startswith("product-")


@pytest.mark.parametrize(
    ("raised", "problem", "expected"),
    [
        (
            InvalidArgument([FieldViolation("shipping_address.city", "must not be empty")]),
            Problem.INVALID,
            {"fields": {"shipping_address.city": "must not be empty"}},
        ),
        (FailedPrecondition("sold out", "OUT_OF_STOCK"), Problem.RULE, {"reason": "OUT_OF_STOCK"}),
        (ResourceExhausted("busy", 1.5), Problem.BUSY, {"retry_after": 1.5}),
    ],
)
async def test_what_a_service_says_reaches_the_page(
    mesh: Mesh, raised: MeshError, problem: Problem, expected: dict[str, Any]
) -> None:
    mesh.script.append(raised)
    with pytest.raises(ShopError) as e:
        await place(mesh)
    assert e.value.problem is problem
    for name, value in expected.items():
        assert getattr(e.value, name) == value


async def place(mesh: Mesh, card: Card | None = None) -> Any:
    return await mesh.shop.orders.create("TOKEN", 2, [(1, 3)], Address(city="X"), card, "the-key")


async def test_an_order_is_tried_again_under_the_same_key(mesh: Mesh) -> None:
    mesh.script += [Unavailable("a"), Unavailable("b")]
    order = await place(mesh, Card("4242424242424242", "12/39", "123"))
    assert (order.id, order.total_cents, order.status, order.cursor) == (7, 1999, Status.CONFIRMED, 3)
    assert [r.idempotency_key for r in mesh.orders.requests] == ["the-key"] * 3
    assert {m["authorization"] for m in mesh.orders.metadata} == {"Bearer TOKEN-for-order"}
    assert mesh.orders.requests[0].payment.credit_card.number == "4242424242424242"


async def test_trying_an_order_again_has_an_end(mesh: Mesh) -> None:
    mesh.script += [Unavailable(str(n)) for n in range(9)]
    with pytest.raises(ShopError) as e:
        await place(mesh)
    assert e.value.problem is Problem.UNAVAILABLE
    assert len(mesh.orders.requests) == AGAIN


async def test_an_order_that_was_refused_is_not_tried_again(mesh: Mesh) -> None:
    mesh.script += [FailedPrecondition("declined", "PAYMENT_DECLINED")]
    with pytest.raises(ShopError):
        await place(mesh)
    assert len(mesh.orders.requests) == 1


async def test_without_a_card_no_payment_is_named(mesh: Mesh) -> None:
    await place(mesh)
    assert not mesh.orders.requests[0].HasField("payment")


async def test_updates_are_followed_until_the_replica_leaves(mesh: Mesh) -> None:
    seen: list[Any] = []

    async def follow() -> None:
        async with mesh.shop.orders.follow("TOKEN", 7, 3) as updates:
            async for update in updates:
                seen.append((update.cursor, update.status, updates.endpoint))  # noqa: PERF401 - it ends in an error

    with pytest.raises(ShopError) as e:
        await asyncio.wait_for(follow(), 10)
    assert e.value.problem is Problem.UNAVAILABLE
    assert seen == [(4, Status.SHIPPED, f"127.0.0.1:{mesh.servers[2].port}")]
    assert mesh.orders.followed[0] == 3


async def test_a_service_that_cannot_be_reached_is_unavailable_within_the_deadline(mesh: Mesh) -> None:
    for server in mesh.servers[:2]:
        await server.stop(0)
    with pytest.raises(ShopError) as e:
        await asyncio.wait_for(mesh.shop.catalogue.product(1), 10)
    assert e.value.problem in (Problem.UNAVAILABLE, Problem.TIMEOUT)


def _product(number: int) -> product_pb2.Product:
    category = product_pb2.PRODUCT_CATEGORY_BOOKS
    return product_pb2.Product(id=number, name="Book", price=19.99, stock=3, category=category)


async def test_the_latest_news_of_a_user_are_read(mesh: Mesh) -> None:
    assert [n.title for n in await mesh.shop.notices.latest("token", 2, 3)] == [
        f"{n} for 2" for n in range(3)
    ]
