"""Follows a name in DNS: looks it up when the TTL ends, and at once when an endpoint fails.

It does not use getaddrinfo, which blocks a thread, hides the TTL and may cache.
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
from grpcmesh.resolver.asking import LookupFailedError
from grpcmesh.resolver.lookup import DnsLookup, Found, Lookup
from grpcmesh.resolver.merge import bounded
from grpcmesh.resolver.schedule import Schedule

_log = logging.getLogger(__name__)


class DnsResolver:
    """Resolves a headless service name by DNS.

    Args:
        config: Settings of the resolver.
        name: Fully qualified name with the trailing dot, such as `product.shop.svc.cluster.local.`
        port: The port of every endpoint. If None, that of the configuration or of SRV records.
        lookup: Makes one look-up; by default by DNS.
        rng: Draws jitter.
    """

    def __init__(
        self,
        config: ResolverConfig,
        name: str,
        port: int | None = None,
        *,
        lookup: Lookup | None = None,
        rng: Rng | None = None,
    ) -> None:
        self.error = ""
        self._name, self._config = name, config
        self._asking = None
        if lookup is None:
            lookup = DnsLookup(config, name, port)
            self._asking = lookup.asking
        self._lookup = lookup
        self._schedule = Schedule(config, rng or system_rng())
        self._wanted = asyncio.Event()
        self._last: frozenset[Address] = frozenset()
        self._results: Counter[str] = Counter({"timeout": 0, "error": 0})  # alerts look at their increase

    async def watch(self) -> AsyncGenerator[frozenset[Address]]:
        while True:
            self._wanted.clear()
            addresses = await self._ask()
            if addresses is not None:
                yield addresses
            await self._wait()

    def refresh(self) -> None:
        self._wanted.set()

    async def _ask(self) -> frozenset[Address] | None:
        """Make one look-up. Return None if it failed."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            found = await self._look_up()
        except LookupFailedError as e:
            self._schedule.failed(started)
            self._results[e.result] += 1
            self._note(str(e))
            return None
        self._schedule.answered(loop.time(), found.ttl, negative=not found.addresses)
        self._results[found.result] += 1
        self._last = bounded(found.addresses, self._last, self._config.max_endpoints)
        nothing = "" if found.addresses else f"{self._name} has no addresses in DNS ({found.result})"
        self._note(found.problem or nothing)
        return self._last

    async def _look_up(self) -> Found:
        try:
            return await self._lookup()
        except LookupFailedError:
            raise
        except Exception as e:  # what an answer may bring about must not end the resolver
            _log.exception("the look-up of %s failed unexpectedly", self._name)
            raise LookupFailedError("error", f"{self._name}: {type(e).__name__}") from e

    def _note(self, error: str) -> None:
        if error and not self.error:
            _log.warning("%s", error)
        self.error = error

    async def _wait(self) -> None:
        """Wait until the next look-up is due. A request for one (`refresh`) makes it due earlier."""
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
        """Return metrics: look-ups by result, queries by nameserver, and the number of addresses."""
        lookups = CounterMetricFamily(
            "mesh_dns_lookups", "DNS look-ups by result.", labels=["name", "result"]
        )
        for result, count in self._results.items():
            lookups.add_metric([self._name, result], count)
        size = GaugeMetricFamily("mesh_resolver_endpoints", "Addresses in the last answer.", labels=["name"])
        size.add_metric([self._name], len(self._last))
        queries = CounterMetricFamily(
            "mesh_dns_queries", "Queries to nameservers, by result.", labels=["nameserver", "result"]
        )
        for labels, count in self._asking.queries.items() if self._asking else ():
            queries.add_metric(labels, count)
        return lookups, size, queries

    def __repr__(self) -> str:
        known = ", ".join(map(str, sorted(self._last)))
        return f"DnsResolver({self._name} → {known or self.error or 'nothing yet'})"
