"""A configurable servicer for `ping.proto`, and a plain gRPC server for it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from grpcmesh.ca import Leaf
from grpcmesh.call import current_principal, current_workload
from grpcmesh.status import ATTEMPTS_KEY, PUSHBACK_KEY
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, add_PingServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]


class PingServicer(PingServiceServicer):
    """Answers pings. The request or the attributes can make it slow or make it fail.

    Args:
        replica: Name of the replica, which each answer holds.
    """

    def __init__(self, replica: str = "ping-1") -> None:
        self.replica = replica
        #: If set, every call fails with this code.
        self.fail: grpc.StatusCode | None = None
        #: Seconds before each answer, in addition to the request's `delay`.
        self.delay = 0.0
        #: Trailing metadata of each unary answer.
        self.trailing: tuple[tuple[str, str | bytes], ...] = ()
        #: Numbers of calls: begun by method name, running, and cancelled by the caller.
        self.calls: Counter[str] = Counter()
        self.running = 0
        self.cancelled = 0

    async def Ping(self, request: PingRequest, context: Context) -> PingResponse:
        return await self._unary("Ping", request, context)

    async def Poke(self, request: PingRequest, context: Context) -> PingResponse:
        return await self._unary("Poke", request, context)

    async def Count(self, request: PingRequest, context: Context) -> AsyncIterator[PingResponse]:
        with self._counted("Count"):
            fails, number = self._fails(request, context), 0
            while not request.count or number < request.count:
                if fails and number >= request.fail_after:
                    await self._abort(request, context)
                await self._wait(request)
                number += 1
                yield self._response(request, context, number)

    async def Sum(self, requests: AsyncIterator[PingRequest], context: Context) -> PingResponse:
        with self._counted("Sum"):
            request, number = PingRequest(), 0
            async for request in requests:
                number += 1
                await self._step(request, context, number)
            return self._response(request, context, number)

    async def Echo(
        self, requests: AsyncIterator[PingRequest], context: Context
    ) -> AsyncIterator[PingResponse]:
        with self._counted("Echo"):
            number = 0
            async for request in requests:
                number += 1
                await self._step(request, context, number)
                yield self._response(request, context, number)

    async def _unary(self, method: str, request: PingRequest, context: Context) -> PingResponse:
        with self._counted(method):
            if self._fails(request, context):
                await self._abort(request, context)
            await self._wait(request)
            if self.trailing:
                context.set_trailing_metadata(self.trailing)
            return self._response(request, context, 1)

    async def _step(self, request: PingRequest, context: Context, number: int) -> None:
        if self._fails(request, context) and number > request.fail_after:
            await self._abort(request, context)
        await self._wait(request)

    async def _wait(self, request: PingRequest) -> None:
        if request.delay or self.delay:
            await asyncio.sleep(request.delay + self.delay)

    def _fails(self, request: PingRequest, context: Context) -> bool:
        if self.fail or not request.fail_code:
            return self.fail is not None
        metadata = dict(context.invocation_metadata() or ())
        return not request.fail_times or int(metadata.get(ATTEMPTS_KEY, 0)) < request.fail_times

    async def _abort(self, request: PingRequest, context: Context) -> None:
        code = self.fail or grpc.StatusCode[request.fail_code]
        trailing = ((PUSHBACK_KEY, request.pushback),) if request.pushback else ()
        await context.abort(code, f"{self.replica} was told to fail", trailing)

    def _response(self, request: PingRequest, context: Context, number: int) -> PingResponse:
        remaining: float | None = context.time_remaining()
        workload, principal = current_workload(), current_principal()
        return PingResponse(
            text=request.text,
            replica=self.replica,
            number=number,
            time_remaining=remaining or 0.0,
            workload=str(workload) if workload else "",
            user=principal.name if principal else "",
            metadata={k: v for k, v in context.invocation_metadata() or () if isinstance(v, str)},
        )

    @contextlib.contextmanager
    def _counted(self, method: str) -> Any:
        self.calls[method] += 1
        self.running += 1
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


class PingServer:
    """A replica: a plain gRPC server with mutual TLS, ping and health. An async context manager.

    Args:
        leaf: Its certificate. If None, the port is plaintext.
        replica: Name of the replica.
        address: Address to listen on; port 0 takes a free one.
        watchable: Whether it serves grpc.health.v1.Health.
        options: Further arguments of the native server.
    """

    def __init__(
        self,
        leaf: Leaf | None,
        replica: str = "ping-1",
        address: str = "127.0.0.1:0",
        *,
        watchable: bool = True,
        options: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.servicer = PingServicer(replica)
        self.health = health.HealthServicer()
        self.port = 0
        self._leaf, self._address, self._watchable = leaf, address, watchable
        self._options = options
        self._server: grpc.aio.Server | None = None
        #: Called with the server before it starts, to add services to it.
        self.also: Callable[[grpc.aio.Server], None] = lambda server: None

    @property
    def endpoint(self) -> str:
        return f"{self._address.rpartition(':')[0]}:{self.port}"

    async def start(self) -> None:
        """Start the server. If it ran before, it uses the same port."""
        options = [("grpc.so_reuseport", 0), ("grpc.http2.max_ping_strikes", 0), *self._options]
        server = grpc.aio.server(options=options)
        add_PingServiceServicer_to_server(self.servicer, server)
        if self._watchable:
            await self.set_serving(True)
            add_HealthServicer_to_server(self.health, server)
        self.also(server)
        address = self.endpoint if self.port else self._address
        if self._leaf:
            self.port = server.add_secure_port(address, server_credentials(self._leaf))
        else:
            self.port = server.add_insecure_port(address)
        await server.start()
        self._server = server

    async def set_serving(self, serving: bool, service: str = "") -> None:
        """Set the health of a service; "" is the whole process."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        await self.health.set(service, status)

    async def stop(self, grace: float | None = None) -> None:
        """Stop the server: at once (None), or after waiting `grace` seconds for running calls."""
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None

    async def __aenter__(self) -> "PingServer":
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()


def server_credentials(leaf: Leaf) -> grpc.ServerCredentials:
    """Return server credentials for mutual TLS, which require a client certificate."""
    pair = [(leaf.tls_key, leaf.tls_crt)]
    return grpc.ssl_server_credentials(pair, root_certificates=leaf.ca_crt, require_client_auth=True)
