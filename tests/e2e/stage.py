"""All the sites in one process, with what they show made up: for looking at the pages alone."""

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from grpcmesh.admin import AdminServer
from grpcmesh.http import HttpServer
from local.traces import Span, TraceStore
from local.traces.web import web_app
from services.storefront.settings import Settings
from tests.e2e.staged_consoles import LOCAL, ShopCluster, consoles
from tests.unit.services.storefront.conftest import PRODUCTS
from tests.unit.services.storefront.fakes import FakeShop

_CLOSE = 120.0


class Stage:
    """The sites, in a thread with an event loop of its own, for `with`."""

    def __init__(self) -> None:
        self._ready: Future[dict[str, Any]] = Future()
        self._thread = threading.Thread(target=self._main)

    def __enter__(self) -> "Stage":
        self._thread.start()
        self.status = self._ready.result(_CLOSE)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_CLOSE)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as e:
            if not self._ready.done():
                self._ready.set_exception(e)
            raise

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:

            async def serve(app: ASGIApp) -> str:
                server = HttpServer(app, "127.0.0.1:0", "stage")
                await server.start()
                stack.push_async_callback(server.aclose)
                return f"http://127.0.0.1:{server.port}"

            admin = AdminServer(LOCAL, CollectorRegistry(), _state)
            await admin.start()
            stack.push_async_callback(admin.aclose)
            traces = await serve(web_app(_store()))
            shop = FakeShop(PRODUCTS, Settings(traces_url=traces, demo_users=True))
            stack.callback(shop.closing.set)
            cluster = ShopCluster()
            await cluster.start()
            stack.push_async_callback(cluster.aclose)
            cluster.beside = {"traces": traces, "storefront": await serve(shop.app)}
            urls = await stack.enter_async_context(consoles(cluster, self._stop, serve))
            metrics = f"http://127.0.0.1:{admin.port}/metrics"
            services = {"order": {"replicas": [{"metrics": metrics}]}}
            self._ready.set_result({**cluster.beside, **urls, "services": services})
            await self._stop.wait()


def _state() -> dict[str, Any]:
    """The state of a process, as its admin page shows it."""
    endpoint = {"health": "SERVING", "in_flight": 2, "picks": 411, "connected": True}
    endpoints = [
        {"address": "127.0.1.1:50051", "state": "READY", **endpoint},
        {"address": "127.0.1.2:50051", "state": "READY", **endpoint, "picks": 409},
        {"address": "127.0.1.3:50051", "state": "ejected", **endpoint, "picks": 12, "health": "NOT_SERVING"},
    ]
    return {
        "service": "order",
        "replica": "order-1",
        "namespace": "meshmart",
        "certificate": {
            "serial": "4f2a91c0",
            "not_after": time.time() + 86_400,
            "workload": "spiffe://m/order",
        },
        "admission": {"limit": 64, "in_flight": 3},
        "targets": [
            {"target": "product", "balancer": "round_robin", "endpoints": endpoints},
            {"target": "payment", "balancer": "least_request", "endpoints": []},
        ],
    }


def _store() -> TraceStore:
    """Traces of orders, one of which failed."""
    store = TraceStore()
    now = time.time()
    for number in range(12):
        store.add(_checkout(f"{number + 1:032x}", now - 60 + 5 * number, failed=number == 7))
    return store


def _checkout(trace: str, start: float, failed: bool) -> list[Span]:
    rows: list[tuple[str, str, str, str, str, float, float]] = [
        ("1", "", "POST /checkout", "server", "storefront", 0, 0.084),
        ("2", "1", "ecommerce.OrderService/CreateOrder", "client", "storefront", 0.004, 0.08),
        ("3", "2", "ecommerce.OrderService/CreateOrder", "server", "order", 0.006, 0.078),
        ("4", "3", "ecommerce.ProductService/ReserveStock", "client", "order", 0.01, 0.028),
        ("5", "4", "ecommerce.ProductService/ReserveStock", "server", "product", 0.012, 0.026),
        ("6", "3", "ecommerce.PaymentService/ProcessPayment", "client", "order", 0.03, 0.062),
        ("7", "6", "ecommerce.PaymentService/ProcessPayment", "server", "payment", 0.033, 0.06),
    ]
    return [
        Span(
            trace_id=trace,
            span_id=span_id,
            parent_id=parent,
            name=name,
            kind=kind,
            service=service,
            replica=f"{service}-1",
            start=start + begun,
            end=start + ended,
            error=failed and service == "payment",
            attributes={"rpc.system": "grpc", "order.id": 7},
        )
        for span_id, parent, name, kind, service, begun, ended in rows
    ]
