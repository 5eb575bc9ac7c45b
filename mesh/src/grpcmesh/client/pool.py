"""The connections of one target. They follow the resolver's endpoints, and are replaced for new certificates.

The state machines and the balancer decide, synchronously; this module does the I/O around them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import grpc

from grpcmesh.backoff import Backoff
from grpcmesh.balancer import Balancer, Endpoint, State, Subset, Verdict
from grpcmesh.client.connection import Connection
from grpcmesh.client.guard import Guard, Guards
from grpcmesh.client.machines import EndpointMachine
from grpcmesh.client.options import Option, channel_options
from grpcmesh.client.watch_listener import EndpointListener
from grpcmesh.client.watches import Wanted
from grpcmesh.clock import system_rng
from grpcmesh.config import MeshConfig
from grpcmesh.identity import Credentials, IdentityStore, server_identity
from grpcmesh.resolver import Address, Resolver
from grpcmesh.tasks import Tasks

#: Upper bounds, in seconds, of the first and of any later wait before a refused server is connected again.
FIRST_RETRY, LONGEST_RETRY = 0.2, 5.0
_REPLACED = "the connection was replaced: there are new certificates"


class Waiter(Protocol):
    """A call that waits for an endpoint."""

    def resume(self) -> None:
        """Try again: an endpoint is ready, or there is nothing left to wait for."""


class Slot:
    """One resolved address: the balancer's view of the endpoint, and its connections."""

    __slots__ = ("backoff", "endpoint", "machine", "uri")

    def __init__(self, address: Address) -> None:
        #: Delays the next connection after one whose certificates were refused.
        self.backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, system_rng())
        self.endpoint = Endpoint(str(address), address.zone)
        self.uri = address.uri
        self.machine: EndpointMachine[Connection]


class Pool:
    """Keeps a connection to each endpoint of a target.

    Args:
        target: Short name of the service.
        identity: Our certificates. If None, connections are plaintext.
        wanted: What to watch at each endpoint.
        subset: Chooses the endpoints that are used.
        options: Channel arguments from code.
    """

    _connection: type[Connection] = Connection

    def __init__(
        self,
        target: str,
        config: MeshConfig,
        balancer: Balancer,
        resolver: Resolver,
        identity: IdentityStore | None,
        wanted: Wanted,
        subset: Subset,
        options: Mapping[str, int | str] | None = None,
    ) -> None:
        self._target, self._config, self._own_options = target, config, options
        self._balancer, self._resolver, self._identity = balancer, resolver, identity
        self._wanted, self.subset = wanted, subset
        #: The endpoints that the resolver found last, by address.
        self.resolved: dict[str, Address] = {}
        self._slots: dict[str, Slot] = {}
        #: Follows the resolver and the connections.
        self.tasks = Tasks()
        self._runs: dict[Connection, asyncio.Task[Any]] = {}
        self._credentials: grpc.ChannelCredentials | None = None
        self._unsubscribe: Callable[[], None] | None = None
        expected = server_identity(config, target)
        self._expected = expected
        #: Checks the certificates of both ends; None if connections are plaintext.
        self.guards = Guards(target, expected, identity, config.balancer.drain_timeout) if identity else None
        #: Whether servers of this target are known to be of the mesh.
        self.member = config.channel.is_member(target)
        #: Calls that wait for an endpoint, oldest first. Each leaves at its deadline at the latest.
        self.waiting: dict[Waiter, None] = {}
        self._change = asyncio.Event()
        #: Endpoints of connections that were given up and still have calls.
        self.draining: dict[Connection, Endpoint] = {}
        #: Connections that were given up, for an endpoint that left or for new certificates: those whose
        #: calls had all ended, and those whose last calls were cut off.
        self.drains = {"finished": 0, "cut": 0}

    def start(self) -> None:
        """Begin to resolve and connect. Raises IdentityError if there is no certificate."""
        if self._identity is not None:
            self._credentials = self._identity.current.channel_credentials(self._expected.domain)
            self._unsubscribe = self._identity.subscribe(self._renew)
            self.tasks.supervise(self._watch_certificates, "certificates")
        self.tasks.supervise(self._follow, "resolver")

    async def close(self) -> None:
        """Close every connection."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        connections = list(self._runs)
        await self.tasks.aclose()
        await asyncio.gather(*(c.close("the channel has been closed") for c in connections))
        self._change.set()

    def follow(self, wanted: Wanted) -> None:
        """Change what is watched at each endpoint."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for connection in self._runs:
            if connection not in self.draining:
                connection.follow(wanted)

    async def changed(self) -> None:
        """Wait until the set or the state of an endpoint changes, or the pool is closed."""
        await self._change.wait()

    async def _follow(self) -> None:
        async for addresses in self._resolver.watch():
            self._apply(addresses)

    def resize(self, size: int | None) -> None:
        """Change how many endpoints are used; None uses all."""
        if size != self.subset.size:
            self.subset.size = size
            self._select()

    def _apply(self, addresses: Iterable[Address]) -> None:
        self.resolved = {str(a): a for a in addresses}
        self._select()

    def _select(self) -> None:
        """Choose the subset of the resolved endpoints: connect new members, drain those no longer in it."""
        wanted = {a: self.resolved[a] for a in self.subset.choose(self.resolved)}
        # An empty answer is not believed of endpoints that still work.
        working = {a for a, slot in self._slots.items() if slot.machine.current.machine.connected}
        for address in self._slots.keys() - (wanted.keys() or working):
            self._leave(self._slots.pop(address))
        for text in sorted(wanted.keys() - self._slots.keys()):
            slot = self._slots[text] = Slot(wanted[text])
            slot.machine = EndpointMachine(self._connect(slot))
            slot.endpoint.transport = slot.machine.current
        self._balancer.replace(slot.endpoint for slot in self._slots.values())
        self._wake()

    def _connect(self, slot: Slot) -> Connection:
        guards = self.guards
        connection = self._connection(
            slot.uri,
            self._credentials,
            self._options(),
            self.tasks,
            self._wanted,
            EndpointListener(slot.endpoint, self._balancer, self._is_member, self._wake),
            partial(self._changed, slot),
            Guard(guards, slot.uri, slot.endpoint.address) if guards else None,
            partial(self._refuse, slot),
        )
        self._runs[connection] = self.tasks.supervise(connection.run, "connection")
        return connection

    def _options(self) -> list[Option]:
        config, target = self._config, self._target
        return channel_options(
            config.balancer,
            config.channel,
            target,
            self._expected,
            member=self.member,
            own=self._own_options,
        )

    def _is_member(self) -> None:
        self.member = True

    def _changed(self, slot: Slot, connection: Connection) -> None:
        for given_up in slot.machine.changed():
            self._retire(given_up, slot.endpoint, None, _REPLACED)
        self._note(slot)

    def _note(self, slot: Slot) -> None:
        """Tell the balancer the endpoint's current state."""
        endpoint, machine = slot.endpoint, slot.machine
        endpoint.transport = machine.current
        state, was_ready = machine.seen, endpoint.state is State.READY
        if endpoint.state is State.DRAINING:
            return
        if state is State.READY:
            slot.backoff.reset()
        if not self._balancer.set_state(endpoint, state, machine.current.machine.error):
            return
        if was_ready or state is State.FAILED:
            self._resolver.refresh()
        self._wake()

    def _leave(self, slot: Slot) -> None:
        timeout = self._config.balancer.drain_timeout
        why = f"{slot.endpoint.address} is no longer an endpoint of {self._target} (for {timeout:g} s)"
        slot.endpoint.state = State.DRAINING
        for given_up in slot.machine.leave():
            self._retire(given_up, slot.endpoint, timeout, why)

    def _retire(self, connection: Connection, endpoint: Endpoint, timeout: float | None, why: str) -> None:
        self._runs[connection].cancel()
        connection.retire()
        self.draining[connection] = endpoint
        self.tasks.spawn(self._drain(connection, timeout, why), "drain")

    async def _drain(self, connection: Connection, timeout: float | None, why: str) -> None:
        try:
            finished = await connection.drain(timeout, why)
            self.drains["finished" if finished else "cut"] += 1
        finally:
            del self.draining[connection], self._runs[connection]

    def _renew(self, credentials: Credentials) -> None:
        """Make a new connection to each endpoint with new certificates."""
        self._credentials = credentials.channel_credentials(self._expected.domain)
        for connection in self._runs:
            if connection.guard is not None:
                connection.guard.trust(credentials)
        for slot in self._slots.values():
            self._connect_anew(slot)
        self._check_certificates()

    def _connect_anew(self, slot: Slot) -> None:
        for given_up in slot.machine.renew(self._connect(slot)):
            self._retire(given_up, slot.endpoint, None, _REPLACED)
        self._note(slot)

    async def _watch_certificates(self) -> None:
        while True:
            await asyncio.sleep(self._config.identity.poll_interval)
            self._check_certificates()

    def _check_certificates(self) -> None:
        for connection in list(self._runs):
            connection.check()

    def _refuse(self, slot: Slot, connection: Connection, reason: str) -> None:
        """Replace, after a backoff, a connection whose certificates are not, or no longer, accepted."""
        self._runs[connection].cancel()
        self.tasks.supervise(partial(self._replace, slot, connection, reason), "refused connection")

    async def _replace(self, slot: Slot, connection: Connection, reason: str) -> None:
        await connection.refuse(reason)
        if not slot.machine.holds(connection):
            return
        await asyncio.sleep(slot.backoff.next())
        if slot.machine.holds(connection):
            self._connect_anew(slot)

    def _wake(self) -> None:
        # Wakes the tasks that wait now, and none that begin to wait later.
        self._change.set()
        self._change.clear()
        if not self.waiting or (not self._balancer.rotation and self._balancer.verdict is Verdict.WAIT):
            return
        waiting, self.waiting = self.waiting, {}
        for waiter in waiting:
            waiter.resume()
