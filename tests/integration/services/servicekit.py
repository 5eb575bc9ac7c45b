"""How a replica of each service is put together: what its `main.build` does, for `replicakit`."""

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
from ecommerce.chat_pb2_grpc import add_ChatServiceServicer_to_server
from ecommerce.notification_pb2_grpc import add_NotificationServiceServicer_to_server
from ecommerce.order_pb2_grpc import add_OrderServiceServicer_to_server
from ecommerce.payment_pb2_grpc import add_PaymentServiceServicer_to_server
from ecommerce.product_pb2_grpc import add_ProductServiceServicer_to_server
from ecommerce.user_pb2_grpc import add_UserServiceServicer_to_server

from grpcmesh.config import AuthConfig
from grpcmesh.server.server import MeshServer
from local.catalog import AUDIENCE, ISSUER
from services.chat.presence import Presence, leaving
from services.chat.rooms import Rooms
from services.chat.servicer import ChatServicer
from services.chat.storage import SqlAttendance
from services.chat.storage import SqlStore as ChatStore
from services.kit.audit import AuditLog, audited
from services.kit.background import repeating
from services.kit.db import Database
from services.kit.following import following
from services.notification.inbox import Inbox
from services.notification.mail import Mail
from services.notification.mail_storage import SqlMail
from services.notification.servicer import NotificationServicer
from services.notification.storage import CHANNEL as NOTIFICATIONS
from services.notification.storage import SqlStore as NotificationStore
from services.order.clients import PaymentCashier, ProductCatalogue
from services.order.erasure import Erasure
from services.order.orders import Orders
from services.order.saga import Saga
from services.order.servicer import OrderServicer
from services.order.storage import CHANGES
from services.order.storage import SqlStore as OrderStore
from services.order.tasks import SagaTasks
from services.order.updates import Updates
from services.payment.acquirer import SimulatedAcquirer
from services.payment.batches import Batches
from services.payment.feed import Feed
from services.payment.payments import Payments
from services.payment.servicer import PaymentServicer
from services.payment.storage import CHANNEL as PAYMENTS
from services.payment.storage import SqlStore as PaymentStore
from services.product.assistant import Assistant
from services.product.catalogue import Catalogue
from services.product.servicer import ProductServicer
from services.product.stock import SqlStock
from services.product.storage import SqlProducts
from services.product.warehouse import Warehouse
from services.user.accounts import Accounts
from services.user.attempts import SqlAttempts
from services.user.exchanges import Exchanges
from services.user.keys import SigningKeys
from services.user.logins import Lifetimes, Logins
from services.user.passwords import Cost, ScryptPasswords
from services.user.published import Published
from services.user.recovery import Recovery
from services.user.servicer import UserServicer
from services.user.session_storage import SqlRevocations, SqlSessions
from services.user.storage import SqlUsers
from services.user.users import Users

from .replicakit import Make

now = time.time


async def _product(stack: AsyncExitStack, server: MeshServer, db: Database) -> None:
    products = SqlProducts(db)
    servicer = ProductServicer(Catalogue(products), Warehouse(SqlStock(db)), Assistant(products))
    add_ProductServiceServicer_to_server(audited(servicer, AuditLog(db), {}), server)


async def _order(stack: AsyncExitStack, server: MeshServer, db: Database) -> None:
    # To nobody: what these tests do to orders needs neither stock nor money.
    nobody = await stack.enter_async_context(grpc.aio.insecure_channel("127.0.0.1:1"))
    store, tasks = OrderStore(db), await stack.enter_async_context(SagaTasks())
    cashier = PaymentCashier(nobody)
    saga = Saga(store, ProductCatalogue(nobody), cashier, now)
    orders, updates = Orders(store, saga, cashier, tasks.start, now), Updates(store)
    add_OrderServiceServicer_to_server(
        audited(OrderServicer(orders, updates, now, Erasure(db).erase), AuditLog(db), {}), server
    )
    await stack.enter_async_context(following(db, CHANGES, updates, int))


async def _payment(stack: AsyncExitStack, server: MeshServer, db: Database) -> None:
    store, acquirer = PaymentStore(db), SimulatedAcquirer(db, now)
    feed = Feed(store)
    parts = Payments(store, acquirer, now), Batches(store, acquirer, now)
    add_PaymentServiceServicer_to_server(
        audited(PaymentServicer(*parts, feed, now), AuditLog(db), {}), server
    )
    await stack.enter_async_context(following(db, PAYMENTS, feed, str))


async def _user(stack: AsyncExitStack, server: MeshServer, db: Database) -> None:
    users, passwords = SqlUsers(db), ScryptPasswords(Cost(log2_n=4))
    # Nobody logs in here: tokens come from `replicakit`.
    keys = SigningKeys(Path(), AuthConfig(ISSUER, AUDIENCE), now)
    ports = users, SqlSessions(db), SqlAttempts(db), passwords, keys
    logins = Logins(*ports, now, Lifetimes())
    accounts = Accounts(users, SqlSessions(db), passwords, logins, now, Lifetimes())
    recovery = Recovery(users, SqlSessions(db), SqlAttempts(db), accounts, now)
    published = Published(keys, SqlRevocations(db), now)
    parts = Users(users, passwords), logins, accounts, recovery
    servicer = UserServicer(*parts, Exchanges(keys, now), published, ISSUER)
    add_UserServiceServicer_to_server(audited(servicer, AuditLog(db), {}), server)


async def _notification(stack: AsyncExitStack, server: MeshServer, db: Database) -> None:
    inbox = Inbox(NotificationStore(db), now)
    add_NotificationServiceServicer_to_server(
        audited(NotificationServicer(inbox, Mail(SqlMail(db), now)), AuditLog(db), {}), server
    )
    await stack.enter_async_context(following(db, NOTIFICATIONS, inbox, int))


async def _chat(stack: AsyncExitStack, server: MeshServer, db: Database) -> None:
    rooms, presence = Rooms(ChatStore(db), now), Presence(SqlAttendance(db), now)
    add_ChatServiceServicer_to_server(ChatServicer(rooms, presence), server)
    await stack.enter_async_context(following(db, "rooms", rooms, str))
    await stack.enter_async_context(leaving(presence))
    await stack.enter_async_context(repeating(presence.keep, 0.05, "presence"))


_PARTS = {
    "product": _product,
    "order": _order,
    "payment": _payment,
    "user": _user,
    "notification": _notification,
    "chat": _chat,
}


def _maker(service: str) -> Callable[[str], Make]:
    def over(url: str) -> Make:
        async def make(stack: AsyncExitStack, server: MeshServer) -> None:
            db = await stack.enter_async_context(Database.open(url, service))
            await _PARTS[service](stack, server, db)

        return make

    return over


#: By service: puts a replica together over the database at a URL.
MAKERS: Mapping[str, Callable[[str], Make]] = {service: _maker(service) for service in _PARTS}
