"""A resolver whose answers a test controls."""

import asyncio
from collections.abc import AsyncGenerator, Iterable

from prometheus_client import Metric

from grpcmesh.resolver import Address


class FakeResolver:
    """A resolver that yields the addresses that a test sets.

    Args:
        addresses: The first answer, such as `127.0.0.1:50051`. Without any, there is no answer until `set`.
    """

    def __init__(self, *addresses: str) -> None:
        self.error = "" if addresses else "the name does not exist"
        #: How often a look-up was requested.
        self.refreshes = 0
        self._answer = frozenset(map(Address.parse, addresses))
        self._version = 1 if addresses else 0
        self._changed = asyncio.Event()

    def set(self, *addresses: str | Address) -> None:
        """Set the next answer. Without addresses, the name has none any more."""
        self._answer = frozenset(a if isinstance(a, Address) else Address.parse(a) for a in addresses)
        self.error = "" if addresses else "the name does not exist"
        self._version += 1
        # Wakes those who wait now; whoever comes later sees the version.
        self._changed.set()
        self._changed.clear()

    async def watch(self) -> AsyncGenerator[frozenset[Address]]:
        seen = 0
        while True:
            while seen == self._version:
                await self._changed.wait()
            seen = self._version
            yield self._answer

    def refresh(self) -> None:
        self.refreshes += 1

    def collect(self) -> Iterable[Metric]:
        return ()
