"""Finds and closes TCP connections of this process among its own file descriptors.

grpc gives Python no way to close a single connection of a server. But the socket belongs to this process, and
shutting it down ends the connection as a network failure would, after which C-core cleans up. The descriptor
is duplicated first, so that it still refers to the same socket if C-core closes it meanwhile.
"""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

#: Directories that list the descriptors of this process: on Linux, and elsewhere.
_LISTS = ("/proc/self/fd", "/dev/fd")


class Peer(NamedTuple):
    """The other end of a connection."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the peer in the form of `context.peer()`."""
        family, host = ("ipv6", f"%5B{self.host}%5D") if ":" in self.host else ("ipv4", self.host)
        return f"{family}:{host}:{self.port}"

    @classmethod
    def parse(cls, peer: str) -> "Peer | None":
        """Parse a peer in the form of `context.peer()` (`ipv4:127.0.0.1:40000`). Return None for others."""
        _, _, address = unquote(peer).partition(":")
        host, _, port = address.rpartition(":")
        return cls.of(host.strip("[]"), int(port)) if port.isdigit() else None

    @classmethod
    def of(cls, host: str, port: int) -> "Peer | None":
        """Return the peer at an IP address, or None if `host` is none. IPv4-mapped IPv6 counts as IPv4."""
        try:
            ip = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return None
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return cls(str(mapped or ip), port)


def count_files() -> int:
    """Return how many file descriptors are open."""
    return len(_descriptors())


def peers(port: int) -> list[Peer]:
    """Return the peers connected to a port of this process. Takes about 4 µs per open file descriptor."""
    return [peer for descriptor in _descriptors() if (peer := _peer(descriptor, port)) is not None]


def close(port: int, wanted: Callable[[Peer], bool]) -> int:
    """Close connections to a port. Return how many. Takes as long as `peers`.

    Args:
        port: A port that this process listens on.
        wanted: Returns whether to close the connection of a peer.
    """
    closed = 0
    for descriptor in _descriptors():
        peer = _peer(descriptor, port)
        if peer is not None and wanted(peer):
            with contextlib.suppress(OSError):  # it is closed already
                closed += _shut_down(descriptor, port, peer)
    return closed


def _shut_down(descriptor: int, port: int, peer: Peer) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        # Looked at again: the number may be another connection's by now, but the duplicate stays what it is.
        if _peer(connection.fileno(), port) != peer:
            return False
        connection.shutdown(socket.SHUT_RDWR)
        return True


def _peer(descriptor: int, port: int) -> Peer | None:
    """Return the other end of a connection to a port, or None for any other kind of file."""
    try:
        # With a family named, the object asks for none; an IPv6 one has room for addresses of both. It only
        # borrows the descriptor.
        connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=descriptor)
    except OSError:  # no socket
        return None
    try:
        local = connection.getsockname()
        if not isinstance(local, tuple) or local[1] != port:
            return None
        host, number = connection.getpeername()[:2]
        return Peer.of(host, number)
    except OSError:  # it listens, or it has just been closed
        return None
    finally:
        connection.detach()


def _descriptors() -> list[int]:
    for directory in _LISTS:
        with contextlib.suppress(OSError):
            return [int(name) for name in os.listdir(directory)]
    return []
