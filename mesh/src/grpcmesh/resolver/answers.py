"""Interprets answers to DNS questions: aliases, the smallest TTL, usable addresses. Pure."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grpcmesh.resolver import wire
from grpcmesh.resolver.wire import Message, Question, Record

#: The most aliases in a row that are followed. C libraries have similar limits.
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
    """Raised if a nameserver's answer contradicts itself."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of DNS to a question.

    Args:
        values: The data of the records asked for; empty if there are none.
        ttl: The smallest TTL in seconds of all records used, aliases included. Without such records, the time
            for which this negative answer is valid (RFC 2308). None if the answer has neither.
        exists: Whether the name exists.
        alias: The name to ask for next, if the answer ends with an alias that it does not resolve; otherwise
            empty.
        additional: Records of the additional section.
    """

    values: tuple[Any, ...] = ()
    ttl: float | None = None
    exists: bool = True
    alias: bytes = b""
    additional: tuple[Record, ...] = ()


def read(message: Message, question: Question) -> Answer:
    """Follow the aliases of an answer to its records.

    Raises:
        AnswerError: The aliases form a loop, or there are too many.
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
    """Return whether the server only refers to others, without an answer or recursion."""
    knows = message.authoritative or message.recursion_available or message.answer or message.rcode
    return not knows and any(r.kind == wire.NS for r in message.authority)


def usable_address(packed: bytes) -> str | None:
    """Return an address as text, or None if no server can be reached at it. IPv4-mapped IPv6 becomes IPv4."""
    address = ipaddress.ip_address(packed)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in _UNUSABLE):  # one of the other family contains none
        return None
    return str(address)
