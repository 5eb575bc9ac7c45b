"""What resolvers have in common, and the one that needs no look-up."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Metric


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where one replica listens. `host` is an IP address."""

    host: str
    port: int
    zone: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def uri(self) -> str:
        """As gRPC's `ipv4:` and `ipv6:` schemes write it, which no resolver of its own looks at."""
        return f"ipv6:{self}" if ":" in self.host else f"ipv4:{self}"

    @classmethod
    def parse(cls, text: str, zone: str = "") -> "Address":
        """Of `127.0.0.1:50051` or `[::1]:50051`. Raises ValueError."""
        host, _, port = text.rpartition(":")
        return cls(host.strip("[]"), int(port), zone)


class Resolver(Protocol):
    """The addresses of one service, now and whenever they change."""

    @property
    def error(self) -> str:
        """Why the last look-up gave no addresses; empty where it did."""

    def watch(self) -> AsyncGenerator[frozenset[Address]]:
        """Each set of addresses that was found; an empty one where the name has none.

        A look-up that failed yields nothing: what was known stays known.
        """

    def refresh(self) -> None:
        """Asks for a look-up soon: an endpoint has failed."""

    def collect(self) -> Iterable[Metric]:
        """Metrics."""


class StaticResolver:
    """A fixed list.

    Args:
        addresses: `127.0.0.1:50051` or `Address`.
    """

    error = ""

    def __init__(self, addresses: Iterable[Address | str]) -> None:
        self._addresses = frozenset(a if isinstance(a, Address) else Address.parse(a) for a in addresses)

    async def watch(self) -> AsyncGenerator[frozenset[Address]]:
        yield self._addresses
        # The set never changes; whoever watches ends this by cancelling.
        await asyncio.Event().wait()

    def refresh(self) -> None:
        """Nothing to ask."""

    def collect(self) -> Iterable[Metric]:
        return ()

    def __repr__(self) -> str:
        return f"StaticResolver({', '.join(map(str, sorted(self._addresses)))})"
