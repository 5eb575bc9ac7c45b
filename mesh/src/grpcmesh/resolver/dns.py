"""Follows a name in DNS: asks when the TTL ends, and at once when an endpoint fails.

DNS is asked directly (dnspython): getaddrinfo blocks a thread, hides the TTL and caches as it likes.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.clock import Rng, system_rng
from grpcmesh.config import ResolverConfig
from grpcmesh.resolver.address import Address
from grpcmesh.resolver.lookup import DnsLookup, Found, Lookup, LookupFailedError
from grpcmesh.resolver.schedule import Schedule

_log = logging.getLogger(__name__)


class DnsResolver:
    """The addresses behind a headless name.

    Args:
        name: Fully qualified, with the trailing dot: `product.meshmart.svc.cluster.local.`
        lookup: Asks once; by default DNS.
    """

    def __init__(
        self, config: ResolverConfig, name: str, *, lookup: Lookup | None = None, rng: Rng | None = None
    ) -> None:
        self.error = ""
        self._name = name
        self._lookup = lookup or DnsLookup(config, name)
        self._schedule = Schedule(config, rng or system_rng())
        self._wanted = asyncio.Event()
        self._last: frozenset[Address] = frozenset()
        self._results: Counter[str] = Counter({"timeout": 0, "error": 0})  # alerts look at their increase

    async def watch(self) -> AsyncGenerator[frozenset[Address]]:
        loop = asyncio.get_running_loop()
        while True:
            self._wanted.clear()
            found = await self._ask()
            self._schedule.asked(loop.time(), found.ttl if found else None)
            if found:
                yield found.addresses
            await self._wait()

    def refresh(self) -> None:
        self._wanted.set()

    async def _ask(self) -> Found | None:
        try:
            found = await self._lookup()
        except LookupFailedError as e:
            self._results[e.result] += 1
            self._note(str(e))
            return None
        self._results[found.result] += 1
        self._last = found.addresses
        self._note("" if found.addresses else f"{self._name} has no addresses in DNS ({found.result})")
        return found

    def _note(self, error: str) -> None:
        if error and not self.error:
            _log.warning("%s", error)
        self.error = error

    async def _wait(self) -> None:
        """Until the next look-up is due; a wish for one only moves it forward."""
        loop = asyncio.get_running_loop()
        while (seconds := self._schedule.wait(loop.time(), self._wanted.is_set())) > 0:
            if self._wanted.is_set():
                await asyncio.sleep(seconds)
                continue
            try:
                async with asyncio.timeout(seconds):
                    await self._wanted.wait()
            except TimeoutError:
                return

    def collect(self) -> Iterable[Metric]:
        """Look-ups by result, and the size of the set."""
        lookups = CounterMetricFamily(
            "mesh_dns_lookups", "DNS look-ups by result.", labels=["name", "result"]
        )
        for result, count in self._results.items():
            lookups.add_metric([self._name, result], count)
        size = GaugeMetricFamily("mesh_resolver_endpoints", "Addresses in the last answer.", labels=["name"])
        size.add_metric([self._name], len(self._last))
        return lookups, size

    def __repr__(self) -> str:
        known = ", ".join(map(str, sorted(self._last)))
        return f"DnsResolver({self._name} → {known or self.error or 'nothing yet'})"
