"""Serves grpc.health.v1.Health: Check, Watch and List, by service and (as "") for the whole process."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh.call import Registrar, current_workload
from grpcmesh.errors import NotFound
from grpcmesh.health.list_pb2 import Health, HealthListRequest, HealthListResponse
from grpcmesh.status import MEMBER_KEY, ZONE_KEY
from grpcmesh.watchers import WatcherBudget

Context = Any

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_NAME = "grpc.health.v1.Health"


#: The most watchers on the plaintext port. It needs none, because probes use Check.
MAX_STRANGERS = 64


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Reports the health of this process and its services. Watchers are notified of changes at once.

    A watcher that reads slowly may miss states in between, but never the latest (as the protocol allows).

    Args:
        max_watchers: The most watchers over mutual TLS. More get RESOURCE_EXHAUSTED. Watchers on the
            plaintext port have a separate budget, so that they cannot use up that of mesh members.
        max_per_peer: The most watchers of one workload.
        zone: The zone of this process, which is sent to watchers; empty if unknown.
    """

    def __init__(self, max_watchers: int = 4096, max_per_peer: int = 1024, zone: str = "") -> None:
        # A client that knows us for a server of the mesh may ping us every ten seconds.
        self._greeting = ((MEMBER_KEY, "1"), *(((ZONE_KEY, zone),) if zone else ()))
        self._members = WatcherBudget(max_watchers, max_per_peer, "health")
        strangers = min(MAX_STRANGERS, max_watchers)
        self._strangers = WatcherBudget(strangers, strangers, "health")
        self._statuses: dict[str, int] = {"": _NOT_SERVING}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._leaving = False

    def set(self, service: str, serving: bool) -> None:
        """Set the health of one service; "" is the whole process. After `leave`, it stays NOT_SERVING."""
        status = _SERVING if serving and not self._leaving else _NOT_SERVING
        if self._statuses.get(service) != status:
            self._statuses[service] = status
            for changed in self._watchers.get(service, ()):
                changed.set()

    def set_all(self, serving: bool) -> None:
        """Set the health of the process and of each of its services."""
        for service in list(self._statuses):
            self.set(service, serving)

    def leave(self) -> None:
        """Set everything to NOT_SERVING for good."""
        self._leaving = True
        self.set_all(False)

    def statuses(self) -> dict[str, bool]:
        """Return whether each service serves, by name; "" is the whole process."""
        return {service: status == _SERVING for service, status in self._statuses.items()}

    def register(self, server: Registrar) -> None:
        """Add Check, Watch and List to a server, whatever grpcio-health-checking knows of List."""
        add: Any = health_pb2_grpc.add_HealthServicer_to_server
        add(self, server)
        listing = grpc.unary_unary_rpc_method_handler(
            self.List, HealthListRequest.FromString, HealthListResponse.SerializeToString
        )
        server.add_registered_method_handlers(_NAME, {"List": listing})

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._statuses:
            raise NotFound("service", repr(request.service))
        return self._response(request.service)

    async def List(self, request: HealthListRequest, context: Context) -> HealthListResponse:
        return HealthListResponse(statuses={s: Health(status=n) for s, n in self._statuses.items()})

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        workload = current_workload()
        budget, peer = self._strangers if workload is None else self._members, str(workload)
        budget.enter(peer)
        try:
            await context.send_initial_metadata(self._greeting)
            async with contextlib.aclosing(self.follow(request.service)) as responses:
                async for response in responses:
                    yield response
        finally:
            budget.leave(peer)

    async def follow(self, service: str) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """Yield the status of a service, now and at each change."""
        changed, told = asyncio.Event(), None
        self._watchers.setdefault(service, set()).add(changed)
        try:
            while True:
                changed.clear()
                response = self._response(service)
                if response.status != told:
                    told = response.status
                    yield response
                await changed.wait()
        finally:
            self._forget(service, changed)

    def _forget(self, service: str, changed: asyncio.Event) -> None:
        watchers = self._watchers[service]
        watchers.discard(changed)
        if not watchers:
            del self._watchers[service]

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=self._statuses.get(service, _UNKNOWN))
