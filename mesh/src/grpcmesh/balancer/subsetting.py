"""Chooses the endpoints that this client uses if there are more than it needs (gRFC A68).

By rendezvous hashing: each client ranks all endpoints by a hash with a seed of its own. When an endpoint is
added or removed, each client's subset changes by at most one endpoint.
"""

from collections.abc import Collection, Iterable

from grpcmesh.balancer.xxhash import xxh64
from grpcmesh.clock import Rng

_SEEDS = 1 << 62


class Subset:
    """The subset of one client for one target.

    Args:
        size: Number of endpoints to use; None uses all.
        rng: Draws the seed, once.
    """

    def __init__(self, size: int | None, rng: Rng) -> None:
        self.size = size
        self._seed = rng.randrange(_SEEDS)

    def choose(self, addresses: Collection[str]) -> Iterable[str]:
        """Return the addresses to use: all of them if there are no more than `size`."""
        if self.size is None or len(addresses) <= self.size:
            return addresses
        return sorted(addresses, key=self._rank)[: self.size]

    def state(self, found: int) -> dict[str, int]:
        """Return, for the admin page, the size and the number of endpoints found; empty if all are used."""
        return {} if self.size is None else {"size": self.size, "of": found}

    def _rank(self, address: str) -> tuple[int, str]:
        return xxh64(address.encode(), self._seed), address
