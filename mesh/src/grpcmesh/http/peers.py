"""Finds the client behind trusted proxies, by `X-Forwarded-For` and the PROXY protocol. Pure."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Most bytes of a PROXY protocol line, version 1 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
MAX_PROXY_LINE = 107
_PROXY_LINE = re.compile(rb"PROXY (?:UNKNOWN.*|(?:TCP4|TCP6) (\S+) \S+ \d{1,5} \d{1,5})\r\n")


@dataclass(frozen=True, slots=True)
class Proxies:
    """The trusted proxies, whose statements about the client's address are believed."""

    networks: tuple[_Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> Self:
        """Return the proxies at these addresses.

        Args:
            networks: Networks or addresses, such as `10.0.0.0/8` or `127.0.0.1`.

        Raises:
            ValueError: One of them is neither an address nor a network.
        """
        return cls(tuple(ipaddress.ip_network(n, strict=False) for n in networks))

    def __contains__(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self.networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the address of the client, in the form of `normal`.

        Each proxy appends the address of its own peer. So the client is, from the right, the first address
        that is no trusted proxy. Addresses to the left of it may be forged, and are ignored.

        Args:
            peer: The address of the connection's other end.
            forwarded: The values of the `X-Forwarded-For` fields, in order.
        """
        hops = [hop.strip() for value in forwarded for hop in value.split(",")]
        client = peer
        while client in self and hops:
            hop = without_port(hops.pop())
            if _parse(hop) is None:
                break  # whatever it is, the proxy that wrote it is the last that is known
            client = hop
        return normal(client)


def proxy_source(line: bytes) -> str | None:
    """Return the client's address in a line of the PROXY protocol.

    Args:
        line: A line of version 1, with its CRLF.

    Returns:
        The address in the form of `normal`. An empty string if the proxy names no client, for example for its
        own health checks. None if this is no such line.
    """
    match = _PROXY_LINE.fullmatch(line)
    if match is None or match[1] is None:
        return "" if match else None
    address = match[1].decode("latin-1")
    return normal(address) if _parse(address) is not None else None


def without_port(hop: str) -> str:
    """Return a hop without its port, which some proxies add: `192.0.2.1:1234`, `[2001:db8::1]:1234`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def normal(address: str) -> str:
    """Return the same text for all addresses of one client.

    That is the IPv4 address, or the /64 of an IPv6 address, which belongs to one subscriber (RFC 6177,
    section 2).
    """
    parsed = _parse(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address if parsed is None else str(parsed)


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return mapped or parsed
