"""Decides which connection of an endpoint carries its calls, and what state the balancer sees.

| event                        | ONE      | RENEWING                  | LEFT |
|------------------------------|----------|---------------------------|------|
| renewed                      | RENEWING | RENEWING, with the latest |      |
| the new connection settles   |          | ONE, which is the new one |      |
| the old connection is broken |          | ONE, which is the new one |      |
| left                         | LEFT     | LEFT                      |      |

New certificates need a new connection. It takes over once its server has reported its health. Until then
the old connection carries the calls, so certificates that no server accepts do no harm while it lasts. If the
old connection breaks, it does not reconnect, because the handshake would use the replaced certificates.

The state that the balancer sees is always that of the connection in use, so a swap never leaves an old one.
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
    """A connection with its state machine."""

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
    """Tracks the connections of one endpoint. Each event method returns the connections that it gives up.

    Args:
        connection: The first connection.
    """

    __slots__ = ("_next", "current", "state")

    def __init__(self, connection: C) -> None:
        self.state = _ONE
        #: The connection that carries new calls.
        self.current = connection
        self._next: C | None = None

    @property
    def seen(self) -> State:
        """Return the endpoint's state as the balancer sees it."""
        if self.state is _LEFT:
            return State.DRAINING
        machine = self.current.machine
        hopeful = State.FAILED if machine.troubled else State.CONNECTING
        return _SEEN.get(machine.state, hopeful)

    def holds(self, connection: C) -> bool:
        """Return whether the endpoint still uses the connection, or will."""
        return self.state is not _LEFT and (connection is self.current or connection is self._next)

    def renew(self, connection: C) -> list[C]:
        """Handle new certificates. `connection` is the one made with them."""
        if self.state is _LEFT:
            return [connection]
        given_up = [self._next] if self._next is not None else []
        self._next, self.state = connection, _RENEWING
        return given_up + self.changed()

    def changed(self) -> list[C]:
        """Handle a change of the state of one of the connections."""
        new = self._next
        if new is None or not (new.machine.settled or not self.current.machine.connected):
            return []
        old, self.current, self._next, self.state = self.current, new, None, _ONE
        return [old]

    def leave(self) -> list[C]:
        """Give up all connections: the endpoint is no longer resolved."""
        given_up = [c for c in (self.current, self._next) if c is not None] if self.state is not _LEFT else []
        self._next, self.state = None, _LEFT
        return given_up

    def __repr__(self) -> str:
        return f"<EndpointMachine {self.state.value} {self.current.machine!r}>"
