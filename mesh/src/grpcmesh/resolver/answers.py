"""What the answer to a DNS question means: aliases, the smallest TTL, which addresses are usable. Pure."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grpcmesh.resolver import wire
from grpcmesh.resolver.wire import Message, Question, Record

#: Aliases in a row that are followed; C libraries stop at about as many.
MAX_ALIASES = 8

#: Addresses that no server can be reached at: "this host", multicast, reserved, unspecified, and link-local
#: IPv6, which means nothing without an interface.
_UNUSABLE = tuple(
    map(
        ipaddress.ip_network,
        ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8", "fe80::/10"),
    )
)


class AnswerError(ValueError):
    """A nameserver's answer contradicts itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says of a question.

    Args:
        values: The data of the records asked for; empty where there are none.
        ttl: The smallest TTL in seconds of all records used, aliases included. For a name without such
            records the time for which that holds (RFC 2308); None where the answer does not say.
        exists: False where the name does not exist.
        alias: The name to ask for next: the answer ends with an alias, and does not resolve it.
        additional: Records that came along.
    """

    values: tuple[Any, ...] = ()
    ttl: float | None = None
    exists: bool = True
    alias: bytes = b""
    additional: tuple[Record, ...] = ()


def read(message: Message, question: Question) -> Answer:
    """Follow the aliases of an answer to its records.

    Raises:
        AnswerError: the aliases form a loop, or there are too many.
    """
    records = _by_name(message.answer)
    name, ttls, seen = question.name, list[int](), {question.name}
    while not (values := records.get((name, question.kind), [])):
        aliases = records.get((name, wire.CNAME))
        if not aliases:
            return _without_records(message, question, name, ttls)
        name = aliases[0].value
        ttls.append(aliases[0].ttl)
        if name in seen or len(seen) > MAX_ALIASES:
            raise AnswerError(f"{wire.name_text(question.name)} is an alias that leads nowhere")
        seen.add(name)
    ttl = float(min([*ttls, *(r.ttl for r in values)]))
    return Answer(tuple(r.value for r in values), ttl, additional=tuple(message.additional))


def _by_name(records: Iterable[Record]) -> dict[tuple[bytes, int], list[Record]]:
    found: dict[tuple[bytes, int], list[Record]] = {}
    for record in records:
        found.setdefault((record.name, record.kind), []).append(record)
    return found


def _without_records(message: Message, question: Question, name: bytes, ttls: list[int]) -> Answer:
    negative = [min(r.ttl, r.value) for r in message.authority if r.kind == wire.SOA]
    ttl = float(min([*ttls, *negative])) if ttls or negative else None
    if message.rcode == wire.NXDOMAIN:
        return Answer(ttl=ttl, exists=False)
    alias = name if name != question.name and not negative else b""
    return Answer(ttl=ttl, alias=alias)


def is_lame(message: Message) -> bool:
    """Whether the server only refers to others: it neither knows the name nor asks on our behalf."""
    knows = message.authoritative or message.recursion_available or message.answer or message.rcode
    return not knows and any(r.kind == wire.NS for r in message.authority)


def usable_address(packed: bytes) -> str | None:
    """Return an address as text, an IPv4-mapped one as IPv4; None where nobody can be reached at it."""
    address = ipaddress.ip_address(packed)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in _UNUSABLE):  # one of the other family contains none
        return None
    return str(address)
