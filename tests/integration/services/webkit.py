"""The whole shop behind the storefront's own HTTP server, on loopback: real services, tokens and user rules.

Only the certificates are missing: each service takes its caller for the storefront.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ecommerce.order_pb2_grpc import add_OrderServiceServicer_to_server
from ecommerce.user_pb2_grpc import add_UserServiceServicer_to_server
from starlette.applications import Starlette
from starlette.middleware import Middleware

from grpcmesh.auth import TokenVerifier, UserLayer
from grpcmesh.authz import PolicyStore
from grpcmesh.call import ServerCall, ServerLayer, Workload
from grpcmesh.client.channel import MeshChannel
from grpcmesh.clock import monotonic
from grpcmesh.config import AuthConfig, AuthzConfig, BalancerConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.http import Proxies
from grpcmesh.server.server import MeshServer
from grpcmesh.telemetry import HttpMetrics, MetricsMiddleware, Telemetry, TraceMiddleware
from grpcmesh.testing.resolver import FakeResolver
from local.catalog import AUDIENCE, ISSUER
from services.kit.db import Database
from services.order.clients import PaymentCashier, ProductCatalogue
from services.order.erasure import Erasure
from services.order.orders import Orders
from services.order.saga import Saga
from services.order.servicer import OrderServicer
from services.order.storage import SqlStore as OrderStore
from services.order.tasks import SagaTasks
from services.order.updates import Updates
from services.storefront import catalogue, clients, exchange
from services.storefront.app import build_app
from services.storefront.calls import Caller
from services.storefront.clients import shop
from services.storefront.server import HttpServer
from services.storefront.settings import Settings
from services.storefront.site import Site
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
from tests.databases import Databases
from tests.integration.services.replicakit import POLICY, Make, _Silent
from tests.integration.services.servicekit import MAKERS

SERVICES = ("product", "payment", "order", "user", "notification")


class Called(ServerLayer):
    """Says who calls, in place of a certificate, and keeps what it is told of a user."""

    def __init__(self, workload: str, received: list[str]) -> None:
        self._workload, self._received = Workload("cluster.local", "default", workload), received

    def on_start(self, call: ServerCall) -> None:
        call.workload = self._workload
        if header := call.metadata.get("authorization"):
            self._received.append(str(header).removeprefix("Bearer "))


@dataclass
class Log:
    """What the storefront logged."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def info(self, message: str, **fields: object) -> None:
        self.lines.append({"message": message, **fields})

    def error(self, message: str, error: BaseException | None = None, **fields: object) -> None:
        self.lines.append({"message": message, "error": error, **fields})


@dataclass
class Running:
    """A shop that runs."""

    app: Starlette
    ports: list[int]
    log: Log
    received: dict[str, list[str]]
    """The tokens that each service was sent."""

    @property
    def port(self) -> int:
        """Of the first storefront."""
        return self.ports[0]


class Builder:
    """Starts one service after the other, each with a server of its own."""

    def __init__(self, stack: AsyncExitStack, databases: Databases, keys: SigningKeys) -> None:
        self._stack, self._databases, self._keys = stack, databases, keys
        #: The tokens that each service was sent.
        self.received: dict[str, list[str]] = {}
        self._policy = PolicyStore(AuthzConfig(POLICY))
        self._policy.load()
        self.config = MeshConfig("storefront", balancer=BalancerConfig(slow_start=0.0))
        self.telemetry = Telemetry(self.config, writer=_Silent())

    async def open(self, service: str) -> Database:
        return await self._stack.enter_async_context(Database.open(self._databases.url(service), service))

    async def made(self, service: str, caller: str = "storefront") -> MeshChannel:
        """A channel to a service as `servicekit` puts it together."""
        return await self.serve(service, MAKERS[service](self._databases.url(service)), caller)

    async def serve(self, name: str, make: Make, caller: str = "storefront") -> MeshChannel:
        """A channel to a new server of a service, which takes every caller for this one."""
        own = str(Workload("cluster.local", "default", name))
        verifier = TokenVerifier(AuthConfig(ISSUER, AUDIENCE), self._keys, own=own)
        assert await verifier.start(5)
        layers = [
            Called(caller, self.received.setdefault(name, [])),
            UserLayer(verifier, self._policy.user_rule),
        ]
        config, health = MeshConfig(name, address="127.0.0.1:0"), HealthServicer()
        server = MeshServer(config, identity=None, layers=layers, health=health)
        await make(self._stack, server)
        await server.start()
        health.set_all(True)
        self._stack.push_async_callback(server.stop, 0)
        resolver = FakeResolver(f"127.0.0.1:{server.port}")
        channel = MeshChannel(name, self.config, identity=None, resolver=resolver, telemetry=self.telemetry)
        self._stack.push_async_callback(channel.close, 0)
        return channel


async def _services(build: Builder, keys: SigningKeys) -> dict[str, MeshChannel]:
    stock, till = await build.made("product", "order"), await build.made("payment", "order")
    order_db, user_db = await build.open("order"), await build.open("user")

    async def order(stack: AsyncExitStack, server: MeshServer) -> None:
        store, tasks = OrderStore(order_db), await stack.enter_async_context(SagaTasks())
        cashier = PaymentCashier(till)
        saga = Saga(store, ProductCatalogue(stock), cashier, time.time)
        orders = Orders(store, saga, cashier, tasks.start, time.time)
        add_OrderServiceServicer_to_server(
            OrderServicer(orders, Updates(store), time.time, Erasure(order_db).erase), server
        )

    async def user(stack: AsyncExitStack, server: MeshServer) -> None:
        users, passwords = SqlUsers(user_db), ScryptPasswords(Cost(log2_n=4))
        ports = users, SqlSessions(user_db), SqlAttempts(user_db), passwords, keys
        logins = Logins(*ports, time.time, Lifetimes())
        accounts = Accounts(users, SqlSessions(user_db), passwords, logins, time.time, Lifetimes())
        recovery = Recovery(users, SqlSessions(user_db), SqlAttempts(user_db), accounts, time.time)
        published = Published(keys, SqlRevocations(user_db), time.time)
        parts = Users(users, passwords), logins, accounts, recovery
        servicer = UserServicer(*parts, Exchanges(keys, time.time), published, ISSUER)
        add_UserServiceServicer_to_server(servicer, server)

    return {
        "product": await build.made("product"),
        "order": await build.serve("order", order),
        "user": await build.serve("user", user),
        "notification": await build.made("notification"),
    }


def _wait_longer(patch: pytest.MonkeyPatch) -> None:
    # All of the shop runs on one event loop here: on a crowded machine a log-in takes longer than the ten
    # seconds that the storefront waits for it.
    for module in (catalogue, clients):
        patch.setattr(module, "READ_TIMEOUT", 60.0)
    patch.setattr(clients, "WRITE_TIMEOUT", 60.0)
    patch.setattr(exchange, "TIMEOUT", 60.0)


@asynccontextmanager
async def web_shop(databases: Databases, directory: Path, replicas: int = 1) -> AsyncIterator[Running]:
    """The shop over these databases.

    Args:
        databases: Of `SERVICES`.
        directory: For the keys that sign tokens.
        replicas: Of the storefront.
    """
    async with AsyncExitStack() as stack:
        _wait_longer(stack.enter_context(pytest.MonkeyPatch.context()))
        keys = signing_keys(directory)
        build = Builder(stack, databases, keys)
        channels = await _services(build, keys)
        log, ports = Log(), []
        for number in range(1, replicas + 1):
            caller, closing = Caller(monotonic), asyncio.Event()
            site = Site(
                shop(channels.__getitem__, caller),
                Settings(proxies=Proxies.of(["127.0.0.1"])),
                f"storefront-{number}",
                caller.name_of,
            )
            outermost = (
                Middleware(TraceMiddleware, tracer=build.telemetry.tracer),
                Middleware(MetricsMiddleware, metrics=HttpMetrics(), clock=monotonic),
            )
            app = build_app(site, log, closing, outermost)
            server = await stack.enter_async_context(HttpServer(app, "127.0.0.1", 0, closing, 1.0))
            ports.append(server.port)
        yield Running(app, ports, log, build.received)


_numbers = itertools.count(1)


def signing_keys(directory: Path) -> SigningKeys:
    """A new key in a directory of its own."""
    home = directory / f"keys-{next(_numbers)}"
    home.mkdir()
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (home / "k1.pem").write_bytes(pem)
    keys = SigningKeys(home, AuthConfig(ISSUER, AUDIENCE), time.monotonic)
    keys.load()
    return keys
