"""One look-up: the questions that are asked of DNS, and what their answers mean."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.message import Message

from grpcmesh.config import ResolverConfig
from grpcmesh.resolver.address import Address


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a look-up: an empty set where the name does not exist or has no addresses."""

    addresses: frozenset[Address]
    #: Seconds; None where the answer says nothing of it.
    ttl: float | None = None
    #: `found`, `empty` or `nxdomain`.
    result: str = "found"


class LookupFailedError(Exception):
    """DNS gave no answer; `result` is `timeout` or `error`."""

    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.result = result


class Lookup(Protocol):
    """Asks once. Raises LookupFailedError."""

    def __call__(self) -> Awaitable[Found]: ...


class DnsLookup:
    """Asks for the addresses of one name, over UDP and, where the answer is truncated, TCP.

    Args:
        name: Fully qualified, with the trailing dot.
    """

    def __init__(self, config: ResolverConfig, name: str) -> None:
        self._config, self._name = config, name
        self._resolver = _resolver(config)

    async def __call__(self) -> Found:
        try:
            if self._config.kind == "srv":
                return await self._services()
            return _found(*await self._hosts(self._name), self._config.port)
        except dns.resolver.NXDOMAIN:
            return Found(frozenset(), None, "nxdomain")
        except dns.exception.Timeout as e:
            raise LookupFailedError("timeout", f"{self._name}: no answer from DNS: {e}") from e
        except (dns.exception.DNSException, OSError) as e:
            raise LookupFailedError("error", f"{self._name}: {e}") from e

    async def _hosts(self, name: str) -> tuple[set[str], float | None]:
        """A and AAAA, asked at once. One that failed matters only where the other found nothing."""
        asked = await asyncio.gather(
            *(self._ask(name, kind) for kind in ("A", "AAAA")), return_exceptions=True
        )
        answers = [a for a in asked if isinstance(a, dns.resolver.Answer)]
        errors = [a for a in asked if isinstance(a, BaseException)]
        if errors and not any(answer.rrset for answer in answers):
            raise errors[0]
        hosts = {record.address for answer in answers if answer.rrset for record in answer.rrset}
        ttls = [float(answer.rrset.ttl) for answer in answers if answer.rrset]
        return hosts, min(ttls, default=None)

    async def _services(self) -> Found:
        """SRV, and the addresses of its targets: from the additional section, else asked for."""
        answer = await self._ask(f"_grpc._tcp.{self._name}", "SRV")
        if not answer.rrset:
            return Found(frozenset(), None, "empty")
        known = _additional(answer.response)
        addresses: set[Address] = set()
        for record in answer.rrset:
            hosts = known.get(record.target) or (await self._hosts(record.target.to_text()))[0]
            addresses |= {Address(host, record.port) for host in hosts}
        return Found(frozenset(addresses), float(answer.rrset.ttl), "found" if addresses else "empty")

    async def _ask(self, name: str, kind: str) -> dns.resolver.Answer:
        return await self._resolver.resolve(
            name, kind, raise_on_no_answer=False, lifetime=self._config.timeout, search=False
        )


def _found(hosts: set[str], ttl: float | None, port: int) -> Found:
    addresses = frozenset(Address(host, port) for host in hosts)
    return Found(addresses, ttl, "found" if addresses else "empty")


def _additional(response: Message) -> dict[dns.name.Name, set[str]]:
    """A and AAAA that came along with an SRV answer."""
    hosts: dict[dns.name.Name, set[str]] = {}
    for rrset in response.additional:
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            hosts.setdefault(rrset.name, set()).update(record.address for record in rrset)
    return hosts


def _resolver(config: ResolverConfig) -> dns.asyncresolver.Resolver:
    if not config.nameserver:
        return dns.asyncresolver.Resolver()
    server = Address.parse(config.nameserver)
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [server.host], server.port
    return resolver
