"""The connections of one target: opened and closed as the resolver says, renewed as certificates are.

The balancer decides, synchronously; this does the I/O around it.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import grpc

from grpcmesh.balancer import Balancer, Endpoint, State, Verdict
from grpcmesh.client.connection import Connection, channel_options
from grpcmesh.config import MeshConfig
from grpcmesh.identity import Credentials, IdentityStore
from grpcmesh.resolver import Address, Resolver
from grpcmesh.tasks import Tasks


class Waiter(Protocol):
    """A call without an endpoint."""

    def resume(self) -> None:
        """Something is ready, or there is nothing to wait for: try again."""


class Slot:
    """An endpoint, its connection, and the one that will take its place when certificates change."""

    __slots__ = ("connection", "endpoint", "next", "uri")

    def __init__(self, address: Address) -> None:
        self.endpoint = Endpoint(str(address), address.zone)
        self.uri = address.uri
        self.connection: Connection
        self.next: Connection | None = None


class Pool:
    """Keeps a connection to each endpoint of a target.

    Args:
        target: Short name of the service.
        identity: None: plaintext.
    """

    def __init__(
        self,
        target: str,
        config: MeshConfig,
        balancer: Balancer,
        resolver: Resolver,
        identity: IdentityStore | None,
    ) -> None:
        self._target, self._config = target, config
        self._balancer, self._resolver, self._identity = balancer, resolver, identity
        self._options = channel_options(config.balancer, config.dns_name(target).rstrip("."))
        self._slots: dict[str, Slot] = {}
        #: Follows the resolver and the connections.
        self.tasks = Tasks()
        self._runs: dict[Connection, asyncio.Task[Any]] = {}
        self._credentials: grpc.ChannelCredentials | None = None
        self._unsubscribe: Callable[[], None] | None = None
        #: Calls that wait for an endpoint, oldest first. Each leaves at its deadline at the latest.
        self.waiting: dict[Waiter, None] = {}
        self._change = asyncio.Event()
        #: Endpoints that are no longer resolved, by the connection that still has calls.
        self.draining: dict[Connection, Endpoint] = {}
        #: Connections that were given up, for an endpoint that left or for new certificates: those whose
        #: calls had all ended, and those whose last calls were cut off.
        self.drains = {"finished": 0, "cut": 0}

    def start(self) -> None:
        """Begins to resolve and connect. Raises IdentityError where there is no certificate."""
        if self._identity is not None:
            self._credentials = self._identity.current.channel_credentials()
            self._unsubscribe = self._identity.subscribe(self._renew)
        self.tasks.supervise(self._follow, "resolver")

    async def close(self) -> None:
        """Close every connection."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        connections = list(self._runs)
        await self.tasks.aclose()
        await asyncio.gather(*(c.close("the channel has been closed") for c in connections))
        self._change.set()

    async def _follow(self) -> None:
        async for addresses in self._resolver.watch():
            self._apply(addresses)

    def _apply(self, addresses: Iterable[Address]) -> None:
        wanted = {str(a): a for a in addresses}
        # An empty answer is not believed of endpoints that still work.
        stay = wanted.keys() or {a for a, slot in self._slots.items() if slot.connection.connected}
        for address in self._slots.keys() - stay:
            self._leave(self._slots.pop(address))
        for text in sorted(wanted.keys() - self._slots.keys()):
            slot = self._slots[text] = Slot(wanted[text])
            slot.connection = slot.endpoint.transport = self._connect(slot)
        self._balancer.replace(slot.endpoint for slot in self._slots.values())
        self._wake()

    def _connect(self, slot: Slot) -> Connection:
        connection = Connection(
            slot.uri,
            self._credentials,
            self._options,
            self._config.health.watch,
            partial(self._changed, slot),
        )
        self._runs[connection] = self.tasks.supervise(connection.run, "connection")
        return connection

    def _changed(self, slot: Slot, connection: Connection) -> None:
        if slot.next is not None and (_settled(slot.next) or not slot.connection.connected):
            old, slot.connection, slot.next = slot.connection, slot.next, None
            slot.endpoint.transport = slot.connection
            self._retire(old, slot.endpoint, None, "its certificate has been replaced")
        if connection is slot.connection and slot.endpoint.state is not State.DRAINING:
            self._note(slot.endpoint, _state(connection), connection.error)

    def _note(self, endpoint: Endpoint, state: State, error: str) -> None:
        was_ready = endpoint.state is State.READY
        if not self._balancer.set_state(endpoint, state, error):
            return
        if was_ready or state is State.FAILED:
            self._resolver.refresh()
        self._wake()

    def _leave(self, slot: Slot) -> None:
        timeout = self._config.balancer.drain_timeout
        why = f"{slot.endpoint.address} is no longer an endpoint of {self._target} (for {timeout:g} s)"
        slot.endpoint.state = State.DRAINING
        self._retire(slot.connection, slot.endpoint, timeout, why)
        if slot.next is not None:
            self._retire(slot.next, slot.endpoint, timeout, why)

    def _retire(self, connection: Connection, endpoint: Endpoint, timeout: float | None, why: str) -> None:
        self._runs[connection].cancel()
        self.draining[connection] = endpoint
        self.tasks.spawn(self._drain(connection, timeout, why), "drain")

    async def _drain(self, connection: Connection, timeout: float | None, why: str) -> None:
        try:
            finished = await connection.drain(timeout, why)
            self.drains["finished" if finished else "cut"] += 1
        finally:
            del self.draining[connection], self._runs[connection]

    def _renew(self, credentials: Credentials) -> None:
        """New certificates: each endpoint gets a new connection, which takes over when it is ready."""
        self._credentials = credentials.channel_credentials()
        for slot in self._slots.values():
            if slot.next is not None:
                self._retire(slot.next, slot.endpoint, None, "its certificate has been replaced")
            slot.next = self._connect(slot)

    async def changed(self) -> None:
        """Until the set or the state of an endpoint changes."""
        await self._change.wait()

    def _wake(self) -> None:
        # Wakes everybody who waits for it now, and nobody who begins to wait later.
        self._change.set()
        self._change.clear()
        if not self.waiting or (not self._balancer.rotation and self._balancer.verdict is Verdict.WAIT):
            return
        waiting, self.waiting = self.waiting, {}
        for waiter in waiting:
            waiter.resume()


def _settled(connection: Connection) -> bool:
    """Connected, and its server has said how it is."""
    return connection.connected and connection.healthy is not None


def _state(connection: Connection) -> State:
    if connection.ready:
        return State.READY
    if connection.connected and connection.healthy is False:
        return State.UNHEALTHY
    return State.FAILED if connection.failed else State.CONNECTING
