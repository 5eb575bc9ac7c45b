"""Helpers shared by the programs that Connect's suite tests: its protos, and metadata as headers."""

import base64
import os
from collections.abc import Iterable
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage

from tests.conformance.protos import load

PACKAGE = "connectrpc.conformance.v1"
#: Names the directory of the generated protos.
PROTOS = "CONFORMANCE_PROTOS"

service: Any = load(os.environ[PROTOS], f"{PACKAGE}.service_pb2")
service_grpc: Any = load(os.environ[PROTOS], f"{PACKAGE}.service_pb2_grpc")
server_compat: Any = load(os.environ[PROTOS], f"{PACKAGE}.server_compat_pb2")
client_compat: Any = load(os.environ[PROTOS], f"{PACKAGE}.client_compat_pb2")


def pack(message: Any) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def metadata(headers: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Return the suite's headers as metadata; it writes binary values in base64, padded or not."""
    return tuple((header.name.lower(), _value(header.name, v)) for header in headers for v in header.value)


def headers(given: Iterable[tuple[str, str | bytes]] | None) -> list[Any]:
    """Return metadata as the suite's headers."""
    values: dict[str, list[str]] = {}
    for name, value in given or ():
        text = base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value
        values.setdefault(name, []).append(text)
    return [service.Header(name=name, value=them) for name, them in values.items()]


def _value(name: str, value: str) -> str | bytes:
    if not name.lower().endswith("-bin"):
        return value
    return base64.b64decode(value + "=" * (-len(value) % 4))
