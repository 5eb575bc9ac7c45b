"""Load reports of servers: xds.data.orca.v3.OrcaLoadReport, in trailing metadata (gRFC A51).

The message is read and written by hand, for the few fields that weights are made of: the generated
code would bring the whole xDS API with it. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from dataclasses import dataclass

from grpcmesh.bad_values import bad_values

#: The trailing metadata key of a report (gRFC A51), as grpc-go and grpc-java send and read it. A server in
#: Python can send it, but C-core keeps it from clients in Python: with grpcio 1.85 they never see it.
STANDARD_LOAD_KEY = "endpoint-load-metrics-bin"
#: The same for clients in Python.
LOAD_KEY = "mesh-load-bin"

#: Bytes of a report that are looked at, and the largest number in it that is believed.
MAX_REPORT, MAX_NUMBER = 16 * 1024, 1e9
#: Weights that can be calculated with: their sums and quotients are finite.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-9, 1e12

_FIELDS = {1: "cpu_utilization", 6: "qps", 7: "eps", 9: "application_utilization"}
_NUMBERS = {name: number for number, name in _FIELDS.items()}
_DOUBLE = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a server says of itself.

    Args:
        cpu_utilization: Share of its CPU in use; may exceed 1.
        application_utilization: The same by the application's own measure; it goes before CPU.
        qps: Calls per second that it serves.
        eps: Of those, the calls that fail.
    """

    cpu_utilization: float = 0.0
    application_utilization: float = 0.0
    qps: float = 0.0
    eps: float = 0.0

    def encode(self) -> bytes:
        """The metadata value."""
        out = bytearray()
        for name, number in _NUMBERS.items():
            if value := getattr(self, name):
                out += bytes([number << 3 | 1]) + _DOUBLE.pack(value)
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> "LoadReport | None":
        """Read a report. A bad one is no reason to fail a call: it is counted, and None is returned.

        Bad is what is no such message, and what says something that cannot be: a negative number, one that is
        none or infinite, or one beyond `MAX_NUMBER`.
        """
        try:
            numbers = _doubles(data) if len(data) <= MAX_REPORT else None
        except (IndexError, struct.error, ValueError):
            numbers = None
        if numbers is None or not all(0.0 <= number <= MAX_NUMBER for number in numbers.values()):
            bad_values.count("load_report")
            return None
        return cls(**numbers)

    @property
    def utilization(self) -> float:
        """What weights are made of."""
        return self.application_utilization or self.cpu_utilization

    def weight(self, error_penalty: float = 1.0) -> float:
        """Calls per second that the server could take if it were fully used (gRFC A58); 0: unknown."""
        if self.qps <= 0 or self.utilization <= 0:
            return 0.0
        weight = self.qps / (self.utilization + self.eps / self.qps * error_penalty)
        return weight if _LEAST_WEIGHT <= weight <= _MOST_WEIGHT else 0.0


def _doubles(data: bytes) -> dict[str, float]:
    values: dict[str, float] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 1:
            name = _FIELDS.get(tag >> 3)
            if name:
                values[name] = _DOUBLE.unpack_from(data, at)[0]
        at = _skip(data, at, tag & 7)
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def _skip(data: bytes, at: int, wire_type: int) -> int:
    match wire_type:
        case 0:
            return _varint(data, at)[1]
        case 1:
            return at + 8
        case 2:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("a field that ends too late")
            return at + length
        case 5:
            return at + 4
        case _:
            raise ValueError(f"wire type {wire_type}")
