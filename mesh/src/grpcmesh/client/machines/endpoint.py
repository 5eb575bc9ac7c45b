"""Which connection of an endpoint carries its calls, and what the balancer may think of the endpoint.

| event                        | ONE      | RENEWING                  | LEFT |
|------------------------------|----------|---------------------------|------|
| renewed                      | RENEWING | RENEWING, with the latest |      |
| the new connection settles   |          | ONE, which is the new one |      |
| the old connection is broken |          | ONE, which is the new one |      |
| left                         | LEFT     | LEFT                      |      |

New certificates get a new connection, which takes over as soon as its server has said how it is. Until then
the old one carries the calls: certificates that no server accepts cost nothing while it lasts. Once it is
broken it is not connected again, because that would be a handshake with certificates that have been replaced.

What the balancer sees is always read from the connection in use, so no swap can leave it with an old state.
"""

import enum
from typing import Generic, Protocol, TypeVar

from grpcmesh.balancer import State
from grpcmesh.client.machines.connection import ConnectionMachine, ConnectionState


class EndpointState(enum.Enum):
    ONE = "one"
    RENEWING = "renewing"
    LEFT = "left"


class HasMachine(Protocol):
    """A connection."""

    @property
    def machine(self) -> ConnectionMachine: ...


C = TypeVar("C", bound=HasMachine)

_ONE, _RENEWING, _LEFT = EndpointState
_SEEN = {
    ConnectionState.READY: State.READY,
    ConnectionState.UNHEALTHY: State.UNHEALTHY,
    ConnectionState.FAILED: State.FAILED,
    ConnectionState.DRAINING: State.DRAINING,
    ConnectionState.CLOSED: State.DRAINING,
}


class EndpointMachine(Generic[C]):
    """The connections of one endpoint. Every event returns the connections that it gives up.

    Args:
        connection: The first.
    """

    __slots__ = ("_next", "current", "state")

    def __init__(self, connection: C) -> None:
        self.state = _ONE
        #: The connection that carries new calls.
        self.current = connection
        self._next: C | None = None

    @property
    def seen(self) -> State:
        """What the balancer may think of the endpoint."""
        if self.state is _LEFT:
            return State.DRAINING
        machine = self.current.machine
        hopeful = State.FAILED if machine.troubled else State.CONNECTING
        return _SEEN.get(machine.state, hopeful)

    def holds(self, connection: C) -> bool:
        """Whether the endpoint has not given the connection up."""
        return self.state is not _LEFT and (connection is self.current or connection is self._next)

    def renew(self, connection: C) -> list[C]:
        """There are new certificates, and this connection is made with them."""
        if self.state is _LEFT:
            return [connection]
        given_up = [self._next] if self._next is not None else []
        self._next, self.state = connection, _RENEWING
        return given_up + self.changed()

    def changed(self) -> list[C]:
        """The state of a connection has changed."""
        new = self._next
        if new is None or not (new.machine.settled or not self.current.machine.connected):
            return []
        old, self.current, self._next, self.state = self.current, new, None, _ONE
        return [old]

    def leave(self) -> list[C]:
        """The endpoint is no longer resolved."""
        given_up = [c for c in (self.current, self._next) if c is not None] if self.state is not _LEFT else []
        self._next, self.state = None, _LEFT
        return given_up

    def __repr__(self) -> str:
        return f"<EndpointMachine {self.state.value} {self.current.machine!r}>"
