"""Ring hash: calls with the same value of a header go to the same endpoint (gRFC A42, A76).

The ring is that of gRPC and Envoy: XXH64 with seed 0 of `address_i`, so that clients in any language agree on
the endpoint of a key. When an endpoint is added or removed, only keys next to its places on the ring move.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.policy import Policy, SlowStart
from grpcmesh.balancer.xxhash import xxh64
from grpcmesh.call import ClientCall
from grpcmesh.clock import Clock, Rng

MIN_RING_SIZE, MAX_RING_SIZE = 1024, 4096
#: gRFC A42: the client's upper bound of the ring size, whatever the config says.
RING_SIZE_CAP = 4096


class RingHash(Policy):
    """Picks an endpoint by the hash of a header, or at random if the call does not have the header.

    Args:
        header: Name of the header, in lower case.
        min_ring_size: Least number of places on the ring. More places spread keys more evenly.
        max_ring_size: Largest number of places on the ring.
    """

    def __init__(
        self,
        slow_start: SlowStart,
        clock: Clock,
        rng: Rng,
        header: str,
        *,
        min_ring_size: int = MIN_RING_SIZE,
        max_ring_size: int = MAX_RING_SIZE,
    ) -> None:
        super().__init__(slow_start, clock, rng)
        self._header = header
        self._max = min(max_ring_size, RING_SIZE_CAP)
        self._min = min(min_ring_size, self._max)
        self._hashes: list[int] = []
        self._owners: list[Endpoint] = []
        #: Hashes by address. They are kept because computing them is the expensive part of making a ring.
        self._places: dict[str, list[int]] = {}

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        super().update(endpoints)
        each = self._places_each(len(endpoints))
        self._places = {e.address: self._hashed(e.address, each) for e in endpoints}
        ring = sorted(
            ((place, i) for i, e in enumerate(endpoints) for place in self._places[e.address]),
        )
        self._hashes = [place for place, _ in ring]
        self._owners = [endpoints[i] for _, i in ring]

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        key = self._key(call)
        at = bisect_left(self._hashes, self._hash(key))
        owners = self._owners
        endpoint = owners[at % len(owners)]
        if endpoint is avoid:
            # The next one on the ring, so that retries of one key meet at the same endpoint, too.
            for step in range(1, len(owners)):
                if owners[(at + step) % len(owners)] is not avoid:
                    return owners[(at + step) % len(owners)]
        return endpoint

    def _key(self, call: ClientCall | None) -> str | bytes:
        if call is None:
            return ""
        values = [value for key, value in call.metadata if key == self._header]
        if len(values) == 1:
            return values[0]
        return ",".join(value if isinstance(value, str) else value.decode("latin-1") for value in values)

    def _hash(self, key: str | bytes) -> int:
        if not key:
            return int(self.rng.random() * (1 << 64))
        return xxh64(key.encode() if isinstance(key, str) else key)

    def _places_each(self, count: int) -> int:
        """Return the places of each endpoint. Weights are equal, so all have the same number (gRFC A42)."""
        if not count:
            return 0
        return max(1, min(math.ceil(self._min / count), self._max // count))

    def _hashed(self, address: str, each: int) -> list[int]:
        known = self._places.get(address, [])
        return known[:each] + [xxh64(f"{address}_{i}".encode()) for i in range(len(known), each)]
