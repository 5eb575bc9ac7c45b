"""Product, payment and order behind real servers on loopback, without certificates; metadata says who calls.

The stack above the servicers is the mesh's own: parsing, error mapping, streams. Identity and tokens are
tested with the mesh.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from ecommerce.order_pb2_grpc import OrderServiceStub, add_OrderServiceServicer_to_server
from ecommerce.payment_pb2_grpc import PaymentServiceStub, add_PaymentServiceServicer_to_server
from ecommerce.product_pb2_grpc import ProductServiceStub, add_ProductServiceServicer_to_server
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpcmesh.call import Principal, ServerCall, ServerLayer, Workload
from grpcmesh.clock import Clock
from grpcmesh.config import MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.server import streams
from grpcmesh.server.server import MeshServer
from grpcmesh.status import from_wire
from services.kit.audit import AuditLog, audited
from services.kit.background import repeating
from services.kit.db import Database
from services.kit.outbox import SqlQueue
from services.kit.relay import Relay
from services.order import clients as order_clients
from services.order.audited_methods import AUDITED as ORDER_AUDITED
from services.order.clients import PaymentCashier, ProductCatalogue
from services.order.erasure import Erasure
from services.order.orders import Orders
from services.order.outbox_events import STOCK
from services.order.receivers import ShippedStock
from services.order.saga import Saga
from services.order.servicer import OrderServicer
from services.order.storage import SqlStore as OrderStore
from services.order.tasks import SagaTasks
from services.order.updates import Updates
from services.payment.acquirer import SimulatedAcquirer
from services.payment.audited_methods import AUDITED as PAYMENT_AUDITED
from services.payment.batches import Batches
from services.payment.feed import Feed
from services.payment.outbox_events import ORDERS
from services.payment.payments import Payments
from services.payment.receivers import RefundedOrders
from services.payment.servicer import PaymentServicer
from services.payment.storage import SqlStore as PaymentStore
from services.product.assistant import Assistant
from services.product.audited_methods import AUDITED as PRODUCT_AUDITED
from services.product.catalogue import Catalogue
from services.product.servicer import ProductServicer
from services.product.stock import SqlStock
from services.product.storage import SqlProducts
from services.product.warehouse import Warehouse
from tests.databases import Databases

SERVICES = ("product", "payment", "order")
Metadata = tuple[tuple[str, str], ...]
ADMIN: Metadata = (("x-user", "1"), ("x-roles", "user,admin"), ("x-workload", "client"))
BOB: Metadata = (("x-user", "2"), ("x-roles", "user"), ("x-workload", "client"))
CHARLIE: Metadata = (("x-user", "3"), ("x-roles", "user"), ("x-workload", "client"))
NOBODY: Metadata = (("x-workload", "client"),)
ORDER: Metadata = (("x-workload", "order"),)
PAYMENT: Metadata = (("x-workload", "payment"),)


class Said(ServerLayer):
    """Believes the metadata.

    Args:
        own: Whose the services' own calls are, which say nothing.
    """

    def __init__(self, own: str) -> None:
        self._own = own

    def on_start(self, call: ServerCall) -> None:
        call.workload = Workload("test", "test", str(call.metadata.get("x-workload", self._own)))
        if user := call.metadata.get("x-user"):
            roles = frozenset(str(call.metadata.get("x-roles", "")).split(","))
            call.principal = Principal(int(user), f"user {user!s}", roles)


@dataclass
class Shop:
    """A shop with one order replica and clients of its services."""

    databases: Databases
    product: ProductServiceStub
    payment: PaymentServiceStub
    order: OrderServiceStub
    orders: Orders
    order_db: Database
    payment_db: Database


@asynccontextmanager
async def serving(add: Any, servicer: Any, own: str = "order") -> AsyncIterator[grpc.aio.Channel]:
    """A mesh server with one servicer, and a channel to it; `own` as for `Said`."""
    config = MeshConfig(service="test", address="127.0.0.1:0")
    server = MeshServer(config, identity=None, layers=[Said(own)], health=HealthServicer())
    add(servicer, server)
    await server.start()
    options = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
            yield channel
    finally:
        await server.stop(0)


class Waking:
    """Wakes a relay that is made later than what it delivers."""

    relay: Relay | None = None

    def __call__(self) -> None:
        if self.relay is not None:
            self.relay.wake()


@asynccontextmanager
async def shop(databases: Databases, now: Clock) -> AsyncIterator[Shop]:
    """All three `SERVICES` over these databases."""
    dbs = {}
    async with AsyncExitStack() as stack:
        # Three services share one event loop here: a step may take longer than its four seconds.
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(order_clients, "STEP_TIMEOUT", 60.0)
        for name in SERVICES:
            dbs[name] = await stack.enter_async_context(Database.open(databases.url(name), name))
        db = dbs["product"]
        servicer: Any = ProductServicer(
            Catalogue(SqlProducts(db)), Warehouse(SqlStock(db)), Assistant(SqlProducts(db))
        )
        audited(servicer, AuditLog(db, now), PRODUCT_AUDITED)
        product = await stack.enter_async_context(serving(add_ProductServiceServicer_to_server, servicer))
        db = dbs["payment"]
        refunds = Waking()
        paid, acquirer = PaymentStore(db, refunds), SimulatedAcquirer(db, now)
        feed = Feed(paid)
        servicer = PaymentServicer(Payments(paid, acquirer, now), Batches(paid, acquirer, now), feed, now)
        audited(servicer, AuditLog(db, now), PAYMENT_AUDITED)
        await stack.enter_async_context(repeating(feed.look, 0.02, "payments"))
        payment = await stack.enter_async_context(serving(add_PaymentServiceServicer_to_server, servicer))
        shipped = Relay(SqlQueue(dbs["order"]), {STOCK: ShippedStock(product)}, now)
        store = OrderStore(dbs["order"], shipped.wake)
        await stack.enter_async_context(shipped)
        tasks = await stack.enter_async_context(SagaTasks())
        cashier = PaymentCashier(payment)
        orders = Orders(
            store, Saga(store, ProductCatalogue(product), cashier, now), cashier, tasks.start, now
        )
        updates = Updates(store)
        servicer = audited(
            OrderServicer(orders, updates, now, Erasure(dbs["order"]).erase),
            AuditLog(dbs["order"], now),
            ORDER_AUDITED,
        )
        order = await stack.enter_async_context(
            serving(add_OrderServiceServicer_to_server, servicer, "payment")
        )
        await stack.enter_async_context(repeating(updates.look, 0.02, "updates"))
        # As in main: a call may be cancelled after its order is recorded and before its saga begins.
        await stack.enter_async_context(repeating(orders.recover, 0.5, "recovery of orders"))
        refunds.relay = Relay(SqlQueue(dbs["payment"]), {ORDERS: RefundedOrders(order)}, now)
        await stack.enter_async_context(refunds.relay)
        yield Shop(
            databases,
            ProductServiceStub(product),
            PaymentServiceStub(payment),
            OrderServiceStub(order),
            orders,
            dbs["order"],
            dbs["payment"],
        )


@dataclass(frozen=True)
class Refusal:
    """How a call was refused: its code, and what of the details a caller acts on."""

    code: grpc.StatusCode
    fields: frozenset[str] = frozenset()
    reason: str = ""
    resource: tuple[str, str] = ("", "")
    message: str = ""


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Reads the google.rpc details of a refused call."""
    status = from_wire(error.trailing_metadata()) or status_pb2.Status()
    bad, info, resource = (
        error_details_pb2.BadRequest(),
        error_details_pb2.ErrorInfo(),
        error_details_pb2.ResourceInfo(),
    )
    for detail in status.details:
        for known in (bad, info, resource):
            detail.Unpack(known)
    return Refusal(
        error.code(),
        frozenset(v.field for v in bad.field_violations),
        info.reason,
        (resource.resource_type, resource.resource_name),
        error.details() or "",
    )


async def refused(call: Any) -> Refusal:
    """Makes a call, unary or response-streaming, that must be refused."""
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as e:
        return refusal(e)
    raise AssertionError("the call was not refused")


_INTS = st.sampled_from([0, 1, 2, 3, 7, 100, 1000, 1001, -1, -(2**31), 2**31 - 1])
_LONGS = st.sampled_from([0, 1, 5, -1, -(2**63), 2**63 - 1])
_DOUBLES = st.sampled_from([0.0, 1.0, 19.99, 0.001, 0.1 + 0.2, -1.0, 1e7, 1e18, float("inf"), float("nan")])
_STRINGS = st.one_of(
    st.sampled_from(
        ["", "a", "k", "4242424242424242", "4000000000000002", "12/40", "123", "110000000", "\0"]
    ),
    st.text(max_size=8),
    st.text(min_size=600, max_size=600),
)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _INTS,
    FieldDescriptor.CPPTYPE_ENUM: st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, -1, 99]),
    FieldDescriptor.CPPTYPE_INT64: _LONGS,
    FieldDescriptor.CPPTYPE_DOUBLE: _DOUBLES,
    FieldDescriptor.CPPTYPE_STRING: _STRINGS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
}


@st.composite
def messages(draw: st.DrawFn, kind: type[Message]) -> Any:
    """Any message of a type: fields set or not, with values that services tend to trip over."""
    message: Any = kind()
    for descriptor in kind.DESCRIPTOR.fields:
        if draw(st.booleans()):
            _fill(draw, message, descriptor)
    return message


def _fill(draw: st.DrawFn, message: Any, descriptor: Any) -> None:
    if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
        getattr(message, descriptor.name).update(draw(st.dictionaries(_STRINGS, _STRINGS, max_size=3)))
        return
    if descriptor.message_type is not None:
        values: Any = messages(descriptor.message_type._concrete_class)
    else:
        values = _SCALARS[descriptor.cpp_type]
    if descriptor.is_repeated:
        getattr(message, descriptor.name).extend(draw(st.lists(values, max_size=3)))
    elif descriptor.message_type is not None:
        getattr(message, descriptor.name).CopyFrom(draw(values))
    else:
        setattr(message, descriptor.name, draw(values))


def requests(stub: Any, method: str, kinds: Mapping[str, type[Message]]) -> st.SearchStrategy[Any]:
    """Any request of a method; of one that takes a stream, an iterator over a few."""
    one = messages(kinds[method])
    return st.lists(one, max_size=3).map(iter) if _takes_a_stream(getattr(stub, method)) else one


def _takes_a_stream(callable_: Any) -> bool:
    return isinstance(callable_, grpc.aio.StreamUnaryMultiCallable | grpc.aio.StreamStreamMultiCallable)


async def answers_whatever_it_is_asked(
    method: Any, requests: Any, callers: Sequence[Any], databases: Databases, timeout: float = 20
) -> None:
    """Calls a method with random requests: none is answered UNKNOWN or INTERNAL.

    Args:
        method: Of a stub.
        requests: A strategy that draws what it is called with.
        callers: Metadata; each may be the caller's.
        databases: Say how many examples to try.
        timeout: Seconds of a call; short for a stream that follows something.
    """
    # One event loop for the server and all examples: hypothesis draws, the loop calls.
    loop = asyncio.get_running_loop()

    async def call(request: Any, metadata: Any) -> None:
        pending: Any = method(request, metadata=metadata, timeout=timeout)
        try:
            if hasattr(pending, "__aiter__"):
                async for _ in pending:
                    pass
            else:
                await pending
        except grpc.aio.AioRpcError as e:
            if e.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL):
                raise

    @settings(
        max_examples=databases.examples(60),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(request=requests, metadata=st.sampled_from(list(callers)))
    def check(request: Any, metadata: Any) -> None:
        asyncio.run_coroutine_threadsafe(call(request, metadata), loop).result(30)

    with pytest.MonkeyPatch.context() as patch:
        # All requests are read before a call is ended, however slow the machine: grpc/grpc#36066.
        patch.setattr(streams, "_LULL", 60.0)
        patch.setattr(streams, "_HEARD_OUT", 60.0)
        await asyncio.to_thread(check)
