"""Limits on a client's use of an HTTP server, and the choice of connections to close if it is full. Pure."""

import resource
from dataclasses import dataclass
from typing import Protocol

#: The most refused connections that stay open until their clients have read the refusal.
MAX_LINGERING = 64


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Limits of an HTTP server. Times are in seconds, sizes in bytes."""

    head_timeout: float = 10.0
    """Time from a request's first byte, or the opening of the connection, until the header is complete."""
    body_timeout: float = 20.0
    """Time from the header until the body is complete."""
    write_timeout: float = 30.0
    """Time for which a client may not read while there is more of the response to send."""
    keep_alive: float = 30.0
    """Time for which a connection may be idle between two requests."""
    close_timeout: float = 3.0
    """Time for which a connection that the server closes may linger for the client to read the response."""
    max_head: int = 16 * 1024
    """Size of a request's line and header fields. A longer one is answered with 431."""
    max_body: int = 64 * 1024
    """Size of a request's body. A longer one is answered with 413."""
    max_connections: int = 1024
    """Open connections. Never more than half of the file descriptors that the process may have."""
    max_per_address: int = 128
    """Open connections of one address. Does not apply to trusted proxies."""

    @property
    def connections(self) -> int:
        """Return `max_connections`, but at most half of RLIMIT_NOFILE: calls and databases need the rest."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors == resource.RLIM_INFINITY:
            return self.max_connections
        return min(self.max_connections, descriptors // 2)


class Connection(Protocol):
    """A connection as the registry uses it."""

    @property
    def evictable(self) -> bool:
        """Return whether the server only waits for the client, so that the connection may be closed."""
        ...

    def evict(self) -> None:
        """Close the connection to make room. It has left the registry already."""
        ...


class Registry:
    """The open connections by client address, bounded in all and by address.

    If there is no room for a new connection, one that waits for its client is closed. If the address is at
    its limit, that is its own oldest evictable connection. If the whole server is full, it is the oldest
    evictable connection of the address that has most of them. So a client that sends incomplete requests
    displaces only itself.

    Args:
        limits: The limits of the server.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits, self._most = limits, limits.connections
        self._open: dict[str, dict[Connection, None]] = {}
        self._total = 0
        self._lingering: set[Connection] = set()

    def __len__(self) -> int:
        return self._total

    def enter(self, connection: Connection, address: str, *, exempt: bool = False) -> bool:
        """Add a connection. Return False if there is no room and none can be made.

        Args:
            connection: The new connection.
            address: Address of the client.
            exempt: Whether the limit by address does not apply, as for a trusted proxy.
        """
        if not exempt and len(self._open.get(address, ())) >= self._limits.max_per_address:
            room = self._evict(address)
        elif self._total >= self._most:
            room = self._evict(max(self._open, key=self._waiting))
        else:
            room = True
        if room:
            self._open.setdefault(address, {})[connection] = None
            self._total += 1
        return room

    def leave(self, connection: Connection, address: str) -> None:
        """Remove a connection. Idempotent."""
        self._lingering.discard(connection)
        own = self._open.get(address)
        if own is None or connection not in own:
            return
        del own[connection]
        self._total -= 1
        if not own:
            del self._open[address]

    def linger(self, connection: Connection) -> bool:
        """Return whether a refused connection may stay open until its client has read the refusal.

        At most `MAX_LINGERING` connections may.
        """
        if len(self._lingering) >= MAX_LINGERING:
            return False
        self._lingering.add(connection)
        return True

    def _evict(self, address: str) -> bool:
        oldest = next((c for c in self._open[address] if c.evictable), None)
        if oldest is None:
            return False
        self.leave(oldest, address)
        oldest.evict()
        return True

    def _waiting(self, address: str) -> int:
        return sum(connection.evictable for connection in self._open[address])
