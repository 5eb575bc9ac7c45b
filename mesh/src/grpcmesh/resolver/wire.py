"""Encodes and parses DNS messages (RFC 1035, RFC 2782, RFC 6891), as far as the resolver needs them. Pure.

They are parsed by hand, because the resolver runs on the event loop. A message of 64 KB that repeats a long
compressed name kept dnspython 2.9 busy for 27 s, and one with 4,000 addresses for 0.4 s (measured). Here each
name is read once for each offset, so that the cost is bounded by the size of the message.
"""

import struct
from dataclasses import dataclass, field
from typing import Any, NamedTuple

A, NS, CNAME, SOA, PTR, AAAA, SRV, OPT = 1, 2, 5, 6, 12, 28, 33, 41
KINDS = {A: "A", AAAA: "AAAA", SRV: "SRV", PTR: "PTR"}
NXDOMAIN = 3
#: The largest answer in bytes that we allow over UDP. It is not fragmented (DNS flag day 2020).
PAYLOAD = 1232

_IN = 1
_HEADER = struct.Struct("!HHHHHH")
_FIXED = struct.Struct("!HHIH")
_SRV = struct.Struct("!HHH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION_DESIRED, _RECURSION_AVAILABLE = (
    0x8000, 0x0400, 0x0200, 0x0100, 0x0080,
)  # fmt: skip
_OPCODE = 0x7800
#: The most bytes of a name on the wire, and the most compression pointers in a chain.
_LONGEST_NAME, _MAX_POINTERS = 255, 64
#: A TTL with the highest bit set means 0 (RFC 2181, section 8).
_MAX_TTL = 2**31


class MalformedError(ValueError):
    """Raised for bytes that are no DNS message, or do not answer the question that was asked."""


class Question(NamedTuple):
    """A question to DNS.

    Args:
        name: The name in wire form, lower case, uncompressed.
        kind: The record type: A, AAAA, SRV or PTR.
    """

    name: bytes
    kind: int

    def __str__(self) -> str:
        return f"{name_text(self.name)} {KINDS.get(self.kind, self.kind)}"


class Record(NamedTuple):
    """A resource record.

    Args:
        name: The name in wire form.
        kind: The record type.
        ttl: TTL in seconds.
        value: For A and AAAA the address as packed bytes, for SRV a `Service`, for CNAME and PTR the name
            that they point to, for SOA the negative TTL in seconds, for NS empty bytes.
    """

    name: bytes
    kind: int
    ttl: int
    value: Any


class Service(NamedTuple):
    """The data of an SRV record."""

    priority: int
    weight: int
    port: int
    target: bytes


@dataclass(slots=True)
class Message:
    """A parsed DNS answer."""

    rcode: int
    truncated: bool = False
    authoritative: bool = False
    recursion_available: bool = False
    answer: list[Record] = field(default_factory=list)
    authority: list[Record] = field(default_factory=list)
    additional: list[Record] = field(default_factory=list)


def encode_name(text: str) -> bytes:
    """Return the wire form of a name.

    Raises:
        ValueError: A label is empty or longer than 63 bytes, or the name is longer than 255 bytes.
    """
    labels = [label.encode("ascii").lower() for label in text.removesuffix(".").split(".")]
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"{text!r} is not a DNS name")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"{text!r} is not a DNS name: it is too long")
    return name


def name_text(name: bytes) -> str:
    """Return the text form of a name. Bytes other than letters, digits, `-`, `_`, `*` become `\\DDD`."""
    labels, at = [], 0
    while name[at]:
        end = at + 1 + name[at]
        labels.append("".join(_escaped(byte) for byte in name[at + 1 : end]))
        at = end
    return ".".join(labels) + "."


def _escaped(byte: int) -> str:
    char = chr(byte)
    return char if char.isascii() and (char.isalnum() or char in "-_*") else f"\\{byte:03d}"


def encode_query(question: Question, message_id: int, *, edns: bool) -> bytes:
    """Return an encoded recursive query. With EDNS it allows answers of `PAYLOAD` bytes over UDP."""
    header = _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, int(edns))
    asked = question.name + struct.pack("!HH", question.kind, _IN)
    return header + asked + (b"\0" + _FIXED.pack(OPT, PAYLOAD, 0, 0) if edns else b"")


def parse(data: bytes, message_id: int, question: Question) -> Message:
    """Parse the answer to a query. Of a truncated answer, no records are read.

    Raises:
        MalformedError: The bytes are no DNS message, have another id or answer another question.
    """
    try:
        return _parse(data, message_id, question)
    except (IndexError, struct.error) as e:
        raise MalformedError("the message ends too early") from e


def _parse(data: bytes, message_id: int, question: Question) -> Message:
    got_id, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if got_id != message_id or not flags & _RESPONSE or flags & _OPCODE:
        raise MalformedError("not an answer to this query")
    reader = _Reader(data, _HEADER.size)
    message = Message(
        flags & 0xF,
        bool(flags & _TRUNCATED),
        bool(flags & _AUTHORITATIVE),
        bool(flags & _RECURSION_AVAILABLE),
    )
    # A server that does not understand a query may leave its question out.
    if not (questions == 0 and message.rcode) and (questions != 1 or reader.question() != question):
        raise MalformedError("the answer to another question")
    if not message.truncated:
        message.answer, message.authority, message.additional = (
            reader.records(count) for count in (answers, authorities, additionals)
        )
        message.rcode |= reader.extended_rcode << 4
    return message


class _Reader:
    """Reads forward through a message."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        #: Names by the offset that a compression pointer refers to.
        self._names: dict[int, bytes] = {}
        self.extended_rcode = 0

    def question(self) -> Question | None:
        name, self._at = self._name(self._at, 0)
        kind, klass = struct.unpack_from("!HH", self._data, self._at)
        self._at += 4
        return Question(name, kind) if klass == _IN else None

    def records(self, count: int) -> list[Record]:
        data, found = self._data, []
        for _ in range(count):
            name, at = self._name(self._at, 0)
            kind, klass, ttl, length = _FIXED.unpack_from(data, at)
            at += _FIXED.size
            self._at = end = at + length
            if end > len(data):
                raise MalformedError("the data of a record ends too late")
            if kind == OPT:
                self.extended_rcode = ttl >> 24
            elif klass == _IN and (value := self._value(kind, at, end)) is not None:
                found.append(Record(name, kind, ttl if ttl < _MAX_TTL else 0, value))
        return found

    def _value(self, kind: int, at: int, end: int) -> Any:
        """Return the data of a record; None for types that are not used here."""
        if kind in (A, AAAA):
            if end - at != (4 if kind == A else 16):
                raise MalformedError("an address of the wrong length")
            return self._data[at:end]
        if kind in (CNAME, PTR):
            return self._last_name(at, end)
        if kind == SRV:
            priority, weight, port = _SRV.unpack_from(self._data, at)
            return Service(priority, weight, port, self._last_name(at + _SRV.size, end))
        if kind == SOA:
            # Of the zone's serial and timers only the last is used: how long a name stays unknown.
            return int.from_bytes(self._data[max(at, end - 4) : end], "big")
        return b"" if kind == NS else None

    def _last_name(self, at: int, end: int) -> bytes:
        name, after = self._name(at, 0)
        if after != end:
            raise MalformedError("a name that does not fill its record")
        return name

    def _name(self, at: int, pointers: int) -> tuple[bytes, int]:
        """Return the name at an offset, and the offset after it."""
        data, start, name = self._data, at, bytearray()
        while length := data[at]:
            if length >= 0xC0:
                name += self._pointed((length & 0x3F) << 8 | data[at + 1], start, pointers)
                return _checked(bytes(name)), at + 2
            if length > 63:
                raise MalformedError("a label of an unknown type")
            end = at + 1 + length
            name += data[at:end].lower()  # no length byte is a letter
            at = end
            if len(name) > _LONGEST_NAME:
                raise MalformedError("a name that is too long")
        return _checked(bytes(name) + b"\0"), at + 1

    def _pointed(self, target: int, start: int, pointers: int) -> bytes:
        name = self._names.get(target)
        if name is None:
            # Only backwards, so that it ends.
            if target >= start or pointers >= _MAX_POINTERS:
                raise MalformedError("a compression pointer that leads nowhere")
            name = self._names[target] = self._name(target, pointers + 1)[0]
        return name


def _checked(name: bytes) -> bytes:
    if len(name) > _LONGEST_NAME:
        raise MalformedError("a name that is too long")
    return name
