"""How much a client may take of an HTTP server, and who has to leave when it is full. Pure."""

import resource
from dataclasses import dataclass
from typing import Protocol

#: Connections beyond the limit that are open only until their clients have read that they are refused.
MAX_LINGERING = 64


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Times in seconds, sizes in bytes."""

    head_timeout: float = 10.0
    """From the first byte of a request, or the opening of its connection, until its header is complete."""
    body_timeout: float = 20.0
    """From the header until the body is complete."""
    write_timeout: float = 30.0
    """For which a client may refuse to take more of an answer."""
    keep_alive: float = 30.0
    """For which a connection may be idle between two requests."""
    close_timeout: float = 3.0
    """For which a connection that the server closes may linger until the client has read the answer."""
    max_head: int = 16 * 1024
    """A request's line and header fields; a longer one is answered 431."""
    max_body: int = 64 * 1024
    """A request's body; a longer one is answered 413."""
    max_connections: int = 1024
    """At a time. Never more than half of the file descriptors that the process may have."""
    max_per_address: int = 128
    """The same, of one address. Does not apply to trusted proxies."""

    @property
    def connections(self) -> int:
        """`max_connections` within what RLIMIT_NOFILE allows: the other half is for calls and databases."""
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptors == resource.RLIM_INFINITY:
            return self.max_connections
        return min(self.max_connections, descriptors // 2)


class Connection(Protocol):
    """What the registry asks of a connection."""

    @property
    def evictable(self) -> bool:
        """Whether it has no whole request under way: idle, half-sent, or being closed."""
        ...

    def evict(self) -> None:
        """Close it, to make room. It has left the registry."""
        ...


class Registry:
    """The open connections by client address, bounded in all and by address.

    When it is full, the newcomer is worth more than a connection that only waits: the address's own oldest
    evictable connection goes, or where the whole server is full, the oldest of the address that has most of
    them. So whoever sends requests half and stops pushes out itself.
    """

    def __init__(self, limits: HttpLimits) -> None:
        self._limits, self._most = limits, limits.connections
        self._open: dict[str, dict[Connection, None]] = {}
        self._total = 0
        self._lingering: set[Connection] = set()

    def __len__(self) -> int:
        return self._total

    def enter(self, connection: Connection, address: str, *, exempt: bool = False) -> bool:
        """Add a connection; False if there is no room and none can be made.

        Args:
            connection: The newcomer.
            address: Of the client.
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
        """Whether a connection that found no room may stay until its client has read why; few may."""
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
