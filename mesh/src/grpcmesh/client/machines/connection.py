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

CHECKING is connected, but the server has not said yet how it is; without a health watch, connected is READY
at once. One that is disconnected while CHECKING was refused after the handshake, as TLS 1.3 refuses a client
certificate: it counts as FAILED. An empty cell changes nothing.
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
#: The states in which there is a transport, and those in which its news matters no more.
_CONNECTED, _OVER = (_CHECKING, _READY, _UNHEALTHY), (_DRAINING, _CLOSED)


class ConnectionMachine:
    """Decides what the news of one connection means. Every event returns whether it changed anything.

    Args:
        watched: Whether the server says how it is (grpc.health.v1.Health/Watch).
    """

    __slots__ = ("_watched", "error", "state", "troubled")

    def __init__(self, watched: bool) -> None:
        self._watched = watched
        self.state = _CONNECTING
        #: It has failed and its server has not answered since: nobody should wait for it.
        self.troubled = False
        #: Why it is not ready, in one line.
        self.error = ""

    @property
    def connected(self) -> bool:
        """Whether there is a transport."""
        return self.state in _CONNECTED

    @property
    def unanswered(self) -> bool:
        """Whether its server has said nothing since it was connected last, or since it failed."""
        return self.state is _CHECKING or self.troubled

    @property
    def carries_calls(self) -> bool:
        """Whether a server may have seen calls that were begun on it, as far as is known."""
        return self.connected or self.state is _DRAINING

    @property
    def settled(self) -> bool:
        """Whether it is connected and its server has said how it is."""
        return self.state is _READY or self.state is _UNHEALTHY

    def watch(self, watched: bool) -> bool:
        """From now on its server says how it is, or it is ready as soon as it is connected."""
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
        """It could not be connected. `on_error` tells why, if anybody knows."""
        if self.state in _OVER or self.state is _FAILED:
            return False
        self.troubled = True
        return self._turn(_FAILED)

    def on_health(self, serving: bool) -> bool:
        """The server has said how it is."""
        return self._answered(_READY if serving else _UNHEALTHY) if self.connected else False

    def on_error(self, error: str) -> bool:
        """Why it could not be connected, or why the watch broke. What was last said of health stays."""
        if self.state in _OVER:
            return False
        changed = error != self.error or (self.state is _CHECKING and not self.troubled)
        self.error = error
        self.troubled = self.troubled or self.state is _CHECKING
        return changed

    def retire(self) -> bool:
        """It gets no new calls, and lives on as long as those that run."""
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
