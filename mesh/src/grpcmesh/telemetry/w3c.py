"""Parses and formats the W3C headers `traceparent`, `tracestate` and `baggage`. Pure.

https://www.w3.org/TR/trace-context-1/ (Recommendation) and https://www.w3.org/TR/baggage/. The names are the
same in gRPC metadata and HTTP headers. Every value comes from a peer. A malformed one is counted in
`mesh_bad_values_total`, and treated as absent.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

from grpcmesh.bad_values import bad_values
from grpcmesh.call import TraceContext

TRACEPARENT, TRACESTATE, BAGGAGE = "traceparent", "tracestate", "baggage"

#: The most members of a valid `tracestate`, and the most characters that we forward.
MAX_STATE_MEMBERS, MAX_STATE = 32, 512
#: If a `tracestate` is too long, members longer than this are removed first.
_LONG_STATE_MEMBER = 128
#: The most members and bytes of a `baggage` that we forward. The rest is left out.
MAX_BAGGAGE_MEMBERS, MAX_BAGGAGE = 64, 8192

_OWS = " \t"
#: All-zero ids are invalid, and so is version ff. A later version goes on with anything but a comma: several
#: headers may be joined by commas, by a proxy or by us, and more than one is malformed.
_PARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(-[^,]*)?",
    re.ASCII,
)
#: Last hex digits of the flags in which the `sampled` bit is set.
_SAMPLED = frozenset("13579bdf")
_STATE_MEMBER = re.compile(
    r"([a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"  # key
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]",  # value
    re.ASCII,
)
_TOKEN, _VALUE = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++", r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*+"
#: The quantifiers are possessive (`++`, `*+`): each text matches in one way. With ordinary ones the blank of
#: `a= ;` matches in two, so a malformed member with 22 of these took 8 s, and twice as long with each more.
_EQUALS, _SEMICOLON = r"[ \t]*+=[ \t]*+", r"[ \t]*+;[ \t]*+"
_PROPERTY = rf"{_TOKEN}(?:{_EQUALS}{_VALUE})?+"
_BAGGAGE_MEMBER = re.compile(rf"({_TOKEN}){_EQUALS}({_VALUE})(?:{_SEMICOLON}{_PROPERTY})*+", re.ASCII)

Values = Iterable[str | bytes]


def parse_traceparent(value: str | bytes | None) -> TraceContext | None:
    """Return the context of a `traceparent`, or None if it is absent or malformed."""
    if value is None:
        return None
    found = _PARENT.fullmatch(_text(value).strip(_OWS))
    if found is not None:
        version, trace_id, span_id, flags, rest = found.groups()
        if not rest or version != "00":  # version 00 ends after the flags; a later one may go on
            return TraceContext(trace_id, span_id, flags in _SAMPLED)
    bad_values.count("traceparent")
    return None


def parse_traceparents(values: Sequence[str | bytes]) -> TraceContext | None:
    """Return the context of all values of `traceparent`, or None. More than one counts as malformed.

    So does W3C's test suite: nobody can say which of them is the caller's.
    """
    if len(values) > 1:
        return parse_traceparent(",".join(map(_text, values)))
    return parse_traceparent(values[0] if values else None)


def format_traceparent(trace: TraceContext) -> str:
    """Return the `traceparent` to send. Undefined flags are zero, as the Recommendation requires."""
    return f"00-{trace.trace_id}-{trace.span_id}-{'01' if trace.sampled else '00'}"


def parse_tracestate(values: Values) -> str:
    """Return the `tracestate` to forward; empty if it is absent or malformed.

    Args:
        values: The values of all headers or metadata entries with this name, in order.
    """
    members = [m for m in _members(values) if m]
    keys = [m.partition("=")[0] for m in members[: MAX_STATE_MEMBERS + 1]]
    malformed = (
        len(members) > MAX_STATE_MEMBERS
        or len(set(keys)) < len(keys)
        or not all(map(_STATE_MEMBER.fullmatch, members))
    )
    if malformed:
        bad_values.count("tracestate")
        return ""
    return _shortened(members)


def _shortened(members: list[str]) -> str:
    """Return the members joined, within `MAX_STATE`. Long members are removed first, then the last ones."""
    while members and sum(map(len, members)) + len(members) - 1 > MAX_STATE:
        long = [m for m in members if len(m) > _LONG_STATE_MEMBER]
        members.remove((long or members)[-1])
    return ",".join(members)


def parse_baggage(values: Values) -> str:
    """Return the `baggage` to forward: its well-formed members, within the limits above.

    Args:
        values: The values of all headers or metadata entries with this name, in order.
    """
    members: list[str] = []
    size = -1
    for member in _members(values):
        if not member:
            continue
        size += 1 + len(member)
        if len(members) == MAX_BAGGAGE_MEMBERS or size > MAX_BAGGAGE:
            bad_values.count("baggage")
            break
        if _BAGGAGE_MEMBER.fullmatch(member):
            members.append(member)
        else:
            size -= 1 + len(member)
            bad_values.count("baggage")
    return ",".join(members)


def baggage_items(baggage: str) -> dict[str, str]:
    """Return the keys and the decoded values of a `baggage` that `parse_baggage` returned."""
    found = (_BAGGAGE_MEMBER.fullmatch(member) for member in baggage.split(",") if member)
    return {f.group(1): unquote(f.group(2), errors="replace") for f in found if f}


def _members(values: Values) -> Iterator[str]:
    """Yield the members of a list header, which may be split over several headers (RFC 9110, section 5.3)."""
    for value in values:
        for member in _text(value).split(","):
            yield member.strip(_OWS)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
