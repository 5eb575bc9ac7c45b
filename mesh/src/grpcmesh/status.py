"""One table: typed error -> status code and google.rpc details. The only place that knows both."""

import re
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2

from grpcmesh import errors
from grpcmesh.bad_values import bad_values
from grpcmesh.target import is_zone

#: Trailing metadata key of a serialized google.rpc.Status (gRPC "richer error model").
DETAILS_KEY = "grpc-status-details-bin"
#: Characters of a message and bytes of details that are sent. A gRPC client refuses trailing metadata above
#: 8 KiB, and so would never learn the code of an error that speaks of each of a thousand wrong fields.
MAX_MESSAGE, MAX_DETAILS = 1024, 4096
_KNOWN_DETAILS: dict[str, type[Message]] = {
    f"google.rpc.{name}": getattr(details, name) for name in details.DESCRIPTOR.message_types_by_name
}
#: Trailing metadata key: which replica answered.
REPLICA_KEY = "mesh-replica"
_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}", re.ASCII)
#: Server pushback in milliseconds, gRFC A6.
PUSHBACK_KEY = "grpc-retry-pushback-ms"
#: Trailing metadata of a call that a server's admission refused: its cause.
REFUSED_KEY = "mesh-refused"
#: Request metadata key of a retry: how many attempts went before. gRFC A6 names it
#: `grpc-previous-rpc-attempts`, but C-core keeps that one for itself: it removes it from a call whose channel
#: has transparent retries (measured with grpcio 1.85).
ATTEMPTS_KEY = "mesh-previous-rpc-attempts"
#: Initial metadata key by which a server of the mesh says so, in answer to a watch of its health.
MEMBER_KEY = "mesh-member"
#: Initial metadata key by which a server says, in the same answer, in which zone it runs.
ZONE_KEY = "mesh-zone"
#: Request metadata key of the milliseconds that the caller gives the call: by it the server sees how long the
#: call has queued.
TIMEOUT_KEY = "mesh-timeout-ms"


def _bad_request(e: errors.InvalidArgument) -> list[Message]:
    violations = [
        details.BadRequest.FieldViolation(field=v.field, description=v.description) for v in e.violations
    ]
    return [details.BadRequest(field_violations=violations)]


def _resource(e: errors.NotFound | errors.AlreadyExists) -> list[Message]:
    return [details.ResourceInfo(resource_type=e.resource_type, resource_name=e.name, description=e.message)]


def _reason(
    e: errors.FailedPrecondition | errors.Aborted | errors.PermissionDenied | errors.Injected,
) -> list[Message]:
    r = e.reason
    return [details.ErrorInfo(reason=r.reason, domain=r.domain, metadata=dict(r.metadata))]


def _retry_info(e: errors.ResourceExhausted | errors.Unavailable) -> list[Message]:
    if e.retry_after is None:
        return []
    delay = duration_pb2.Duration()
    delay.FromMilliseconds(round(e.retry_after * 1000))
    return [details.RetryInfo(retry_delay=delay)]


_CODES: dict[type[errors.MeshError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}


def code_of(error: BaseException) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for one that has no place on the wire."""
    if isinstance(error, errors.Injected):
        return grpc.StatusCode[error.code]
    for cls in type(error).__mro__:
        if cls in _CODES:
            return _CODES[cls]
    return grpc.StatusCode.INTERNAL


def details_of(error: errors.MeshError) -> list[Message]:
    """The google.rpc detail messages of an error."""
    match error:
        case errors.InvalidArgument():
            return _bad_request(error)
        case errors.NotFound() | errors.AlreadyExists():
            return _resource(error)
        case errors.FailedPrecondition() | errors.Aborted() | errors.PermissionDenied() | errors.Injected():
            return _reason(error)
        case errors.ResourceExhausted() | errors.Unavailable():
            return _retry_info(error)
        case _:
            return []


def to_wire(error: BaseException) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """What to abort a call with: code, message, trailing metadata.

    An error outside the table becomes INTERNAL with a fixed message: its text may hold anything.
    """
    code = code_of(error)
    unknown = code is grpc.StatusCode.INTERNAL and not isinstance(error, errors.Injected)
    if unknown or not isinstance(error, errors.MeshError):
        return grpc.StatusCode.INTERNAL, "internal error", ()
    message = error.message.encode("utf-8", "replace").decode("utf-8")[:MAX_MESSAGE]
    packed = _details(code, message, error)
    if not packed:
        return code, message, ()
    trailing: list[tuple[str, str | bytes]] = [(DETAILS_KEY, packed)]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        trailing.append((PUSHBACK_KEY, str(round(retry_after * 1000))))
    return code, message, tuple(trailing)


def _details(code: grpc.StatusCode, message: str, error: errors.MeshError) -> bytes:
    """Return a serialized google.rpc.Status; nothing where there are no details that can be sent."""
    try:
        packed = [_pack(d) for d in details_of(error)]
    except (TypeError, ValueError):  # text that is none, or that UTF-8 cannot encode
        return b""
    if not packed:
        return b""
    serialized = status_pb2.Status(code=code.value[0], message=message, details=packed).SerializeToString()
    return serialized if len(serialized) <= MAX_DETAILS else b""


def from_wire(trailing: object) -> status_pb2.Status | None:
    """Return the google.rpc.Status in a call's trailing metadata, or None. For clients and tests.

    One that cannot be read is counted, and is as good as none. A detail of a type of google.rpc that cannot
    be read is left out, so that `Unpack` raises on none of those that are returned.
    """
    for key, value in trailing or ():  # type: ignore[attr-defined]
        if key == DETAILS_KEY:
            return _status(value)
    return None


def _status(value: Any) -> status_pb2.Status | None:
    try:
        status = status_pb2.Status.FromString(value)
    except (DecodeError, TypeError, ValueError):
        bad_values.count("status_details")
        return None
    readable = [detail for detail in status.details if _readable(detail)]
    if len(readable) < len(status.details):
        bad_values.count("status_details", len(status.details) - len(readable))
        del status.details[:]
        status.details.extend(readable)
    return status


def _readable(detail: any_pb2.Any) -> bool:
    known = _KNOWN_DETAILS.get(detail.type_url.rpartition("/")[2])
    try:
        return known is None or detail.Unpack(known())
    except (DecodeError, ValueError):
        return False


def replica_of(trailing: object) -> str:
    """Return the replica that answered, as its trailing metadata says; empty where it says nothing.

    It is what a server says of itself. What is no name, and could make a mess of a log or a terminal, is
    counted and left out.
    """
    for key, value in trailing or ():  # type: ignore[attr-defined]
        if key == REPLICA_KEY:
            if isinstance(value, str) and _REPLICA.fullmatch(value):
                return value
            bad_values.count("replica")
            break
    return ""


def zone_of(initial: object) -> str:
    """Return the zone in which a server runs, as its initial metadata says; empty where it says nothing.

    What is no name of a zone is counted and left out.
    """
    for key, value in initial or ():  # type: ignore[attr-defined]
        if key == ZONE_KEY:
            if isinstance(value, str) and is_zone(value):
                return value
            bad_values.count("zone")
            break
    return ""


def _pack(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
