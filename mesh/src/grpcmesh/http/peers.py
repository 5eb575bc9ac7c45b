"""Who the client is behind trusted proxies: `X-Forwarded-For` and the PROXY protocol. Pure."""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: Longest first line of the PROXY protocol, version 1 (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
MAX_PROXY_LINE = 107
_PROXY_LINE = re.compile(rb"PROXY (?:UNKNOWN.*|(?:TCP4|TCP6) (\S+) \S+ \d{1,5} \d{1,5})\r\n")


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies that are believed when they say whom they speak for."""

    networks: tuple[_Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> Self:
        """Proxies at these addresses.

        Args:
            networks: Such as `10.0.0.0/8` or `127.0.0.1`.

        Raises:
            ValueError: one of them is no address and no network.
        """
        return cls(tuple(ipaddress.ip_network(n, strict=False) for n in networks))

    def __contains__(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self.networks)

    def client(self, peer: str, forwarded: Sequence[str]) -> str:
        """The address of the client.

        Each proxy appends whom it heard from, so only what trusted proxies wrote counts: from the right, the
        first address that is not one of theirs. What a client itself put in front of it is never read.

        Args:
            peer: The other end of the connection.
            forwarded: The values of the `X-Forwarded-For` fields, in their order.
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
    """The client's address that a PROXY line tells.

    Args:
        line: Of version 1, with its CRLF.

    Returns:
        "" where the proxy speaks for itself, as when it checks health; None where this is no such line.
    """
    match = _PROXY_LINE.fullmatch(line)
    if match is None or match[1] is None:
        return "" if match else None
    address = match[1].decode("latin-1")
    return normal(address) if _parse(address) is not None else None


def without_port(hop: str) -> str:
    """The address of a hop that some proxies write as `192.0.2.1:1234` or `[2001:db8::1]:1234`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def normal(address: str) -> str:
    """One text for one client: IPv4 as such, of IPv6 the /64 that a subscriber has (RFC 6177, section 2)."""
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
