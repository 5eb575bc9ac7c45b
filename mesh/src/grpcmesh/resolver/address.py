"""The interface of resolvers, and the resolver with a fixed list."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Metric


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """The address of one replica. `host` is an IP address; `zone` is empty if unknown."""

    host: str
    port: int
    zone: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def uri(self) -> str:
        """Return the address in gRPC's `ipv4:` or `ipv6:` scheme, for which gRPC does no look-up."""
        return f"ipv6:{self}" if ":" in self.host else f"ipv4:{self}"

    @classmethod
    def parse(cls, text: str, zone: str = "") -> "Address":
        """Parse `127.0.0.1:50051` or `[::1]:50051`. Raises ValueError if the port is no number."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port), zone)


class Resolver(Protocol):
    """Finds the addresses of one service, now and whenever they change."""

    @property
    def error(self) -> str:
        """Return why the last look-up found no addresses, or an empty string if it did."""

    def watch(self) -> AsyncGenerator[frozenset[Address]]:
        """Yield each set of addresses that is found; an empty set if the name has no addresses.

        A look-up that fails yields nothing, so the last set stays valid.
        """

    def refresh(self) -> None:
        """Request a look-up soon, because an endpoint has failed."""

    def collect(self) -> Iterable[Metric]:
        """Return the resolver's metrics."""


class StaticResolver:
    """A resolver with a fixed list of addresses.

    Args:
        addresses: The addresses, as `Address` or as text such as `127.0.0.1:50051`.
    """

    error = ""

    def __init__(self, addresses: Iterable[Address | str]) -> None:
        self._addresses = frozenset(a if isinstance(a, Address) else Address.parse(a) for a in addresses)

    async def watch(self) -> AsyncGenerator[frozenset[Address]]:
        yield self._addresses
        # The set never changes; whoever watches ends this by cancelling.
        await asyncio.Event().wait()

    def refresh(self) -> None:
        """Do nothing: there is no look-up."""

    def collect(self) -> Iterable[Metric]:
        return ()

    def __repr__(self) -> str:
        return f"StaticResolver({', '.join(map(str, sorted(self._addresses)))})"
