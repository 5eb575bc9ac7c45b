"""Load reports of servers: xds.data.orca.v3.OrcaLoadReport, in trailing metadata (gRFC A51).

The message is encoded and decoded by hand. Only a few of its fields are needed for weights, and generated
code would bring the whole xDS API with it. Wire format: https://protobuf.dev/programming-guides/encoding/
"""

import struct
from dataclasses import dataclass

from grpcmesh.bad_values import bad_values

#: The trailing metadata key of a report (gRFC A51), as grpc-go and grpc-java send and read it. A server in
#: Python can send it, but C-core hides it from clients in Python: with grpcio 1.85 they never see it.
STANDARD_LOAD_KEY = "endpoint-load-metrics-bin"
#: The key of the same report for clients in Python.
LOAD_KEY = "mesh-load-bin"

#: The largest report in bytes, and the largest number in one, that is accepted.
MAX_REPORT, MAX_NUMBER = 16 * 1024, 1e9
#: Bounds of a weight. Within them, sums and quotients of weights are finite.
_LEAST_WEIGHT, _MOST_WEIGHT = 1e-9, 1e12

_FIELDS = {1: "cpu_utilization", 6: "qps", 7: "eps", 9: "application_utilization"}
_NUMBERS = {name: number for number, name in _FIELDS.items()}
_DOUBLE = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A server's report of its load.

    Args:
        cpu_utilization: Share of its CPU in use; may exceed 1.
        application_utilization: Utilization by the application's own measure. If not 0, it replaces
            `cpu_utilization`.
        qps: Calls per second that it serves.
        eps: Calls per second that fail.
    """

    cpu_utilization: float = 0.0
    application_utilization: float = 0.0
    qps: float = 0.0
    eps: float = 0.0

    def encode(self) -> bytes:
        """Return the report as a metadata value."""
        out = bytearray()
        for name, number in _NUMBERS.items():
            if value := getattr(self, name):
                out += bytes([number << 3 | 1]) + _DOUBLE.pack(value)
        return bytes(out)

    @classmethod
    def decode(cls, data: bytes) -> "LoadReport | None":
        """Read a report. If it is bad, count it and return None, because a bad report must not fail a call.

        A report is bad if it cannot be decoded, or has a number that is negative, not a number, infinite or
        above `MAX_NUMBER`.
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
        """Return the utilization that weights are computed from."""
        return self.application_utilization or self.cpu_utilization

    def weight(self, error_penalty: float = 1.0) -> float:
        """Return the calls per second that the server could serve if fully used (gRFC A58); 0 if unknown."""
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
