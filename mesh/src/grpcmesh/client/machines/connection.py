"""The state of one connection: a native channel to one endpoint.

| event             | CONNECTING | CHECKING  | READY      | UNHEALTHY  | FAILED   | DRAINING | CLOSED |
|-------------------|------------|-----------|------------|------------|----------|----------|--------|
| connected         | CHECKING   |           |            |            | CHECKING |          |        |
| disconnected      |            | FAILED    | CONNECTING | CONNECTING |          |          |        |
| failed to connect | FAILED     | FAILED    | FAILED     | FAILED     |          |          |        |
| serving           |            | READY     |            | READY      |          |          |        |
| not serving       |            | UNHEALTHY | UNHEALTHY  |            |          |          |        |
| retired           | DRAINING   | DRAINING  | DRAINING   | DRAINING   | DRAINING |          |        |
| closed            | CLOSED     | CLOSED    | CLOSED     | CLOSED     | CLOSED   | CLOSED   |        |

In CHECKING the connection is up, but the server has not reported its health yet. Without a health watch, a
connection is READY as soon as it is up. A disconnect in CHECKING counts as FAILED: with TLS 1.3, that is how
a server refuses a client certificate, after the handshake. An event with an empty cell changes nothing.
"""

import enum


class ConnectionState(enum.Enum):
    CONNECTING = "connecting"
    CHECKING = "checking"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    DRAINING = "draining"
    CLOSED = "closed"


_CONNECTING, _CHECKING, _READY, _UNHEALTHY, _FAILED, _DRAINING, _CLOSED = ConnectionState
#: The states in which there is a transport, and those in which events from it are ignored.
_CONNECTED, _OVER = (_CHECKING, _READY, _UNHEALTHY), (_DRAINING, _CLOSED)


class ConnectionMachine:
    """Tracks the state of one connection. Each event method returns whether it changed anything.

    Args:
        watched: Whether the server's health is watched (grpc.health.v1.Health/Watch).
    """

    __slots__ = ("_watched", "error", "state", "troubled")

    def __init__(self, watched: bool) -> None:
        self._watched = watched
        self.state = _CONNECTING
        #: Whether it has failed and the server has not answered since. Calls should not wait for it then.
        self.troubled = False
        #: Why the connection is not ready, in one line.
        self.error = ""

    @property
    def connected(self) -> bool:
        """Return whether there is a transport."""
        return self.state in _CONNECTED

    @property
    def unanswered(self) -> bool:
        """Return whether the server has not answered since the last connect or the last failure."""
        return self.state is _CHECKING or self.troubled

    @property
    def carries_calls(self) -> bool:
        """Return whether, as far as is known, a server may have seen calls begun on this connection."""
        return self.connected or self.state is _DRAINING

    @property
    def settled(self) -> bool:
        """Return whether it is connected and the server has reported its health."""
        return self.state is _READY or self.state is _UNHEALTHY

    def watch(self, watched: bool) -> bool:
        """Change whether health is watched. If it is not, the connection is ready as soon as it is up."""
        self._watched = watched
        return not watched and self.on_health(True)

    def on_connected(self) -> bool:
        if self.state is not _CONNECTING and self.state is not _FAILED:
            return False
        if self._watched:
            return self._turn(_CHECKING)
        return self._answered(_READY)

    def on_disconnected(self) -> bool:
        if not self.connected:
            return False
        if self.state is _CHECKING:
            return self.on_failed()
        return self._turn(_CONNECTING)

    def on_failed(self) -> bool:
        """Handle a failure to connect. `on_error` is called with the reason, if it is known."""
        if self.state in _OVER or self.state is _FAILED:
            return False
        self.troubled = True
        return self._turn(_FAILED)

    def on_health(self, serving: bool) -> bool:
        """Handle a report of the server's health."""
        return self._answered(_READY if serving else _UNHEALTHY) if self.connected else False

    def on_error(self, error: str) -> bool:
        """Record why the connection or the health watch failed. The last reported health stays."""
        if self.state in _OVER:
            return False
        changed = error != self.error or (self.state is _CHECKING and not self.troubled)
        self.error = error
        self.troubled = self.troubled or self.state is _CHECKING
        return changed

    def retire(self) -> bool:
        """Stop using it for new calls. It stays open until the calls under way have ended."""
        return self.state not in _OVER and self._turn(_DRAINING)

    def close(self) -> bool:
        return self.state is not _CLOSED and self._turn(_CLOSED)

    def _answered(self, state: ConnectionState) -> bool:
        self.troubled, self.error = False, ""
        return self.state is not state and self._turn(state)

    def _turn(self, state: ConnectionState) -> bool:
        self.state = state
        return True

    def __repr__(self) -> str:
        return f"<{self.state.value}{f' ({self.error})' if self.error else ''}>"
