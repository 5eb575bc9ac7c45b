"""Maps typed errors to status codes and google.rpc details, and reads both from responses."""

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
#: The most characters of a message, and bytes of details, that are sent. A gRPC client refuses trailing
#: metadata above 8 KiB, and so would not get the code of an error with details on a thousand wrong fields.
MAX_MESSAGE, MAX_DETAILS = 1024, 4096
_KNOWN_DETAILS: dict[str, type[Message]] = {
    f"google.rpc.{name}": getattr(details, name) for name in details.DESCRIPTOR.message_types_by_name
}
#: Trailing metadata key of the replica that answered.
REPLICA_KEY = "mesh-replica"
_REPLICA = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}", re.ASCII)
#: Trailing metadata key of a server's pushback in milliseconds (gRFC A6).
PUSHBACK_KEY = "grpc-retry-pushback-ms"
#: Trailing metadata key of the cause, if a server's admission refused the call.
REFUSED_KEY = "mesh-refused"
#: Request metadata key of the number of previous attempts. gRFC A6 names it `grpc-previous-rpc-attempts`, but
#: C-core removes that key if the channel has transparent retries (measured with grpcio 1.85).
ATTEMPTS_KEY = "mesh-previous-rpc-attempts"
#: Initial metadata key with which a server says, in answer to a health watch, that it is a member of the
#: mesh.
MEMBER_KEY = "mesh-member"
#: Initial metadata key of the server's zone, in the same answer.
ZONE_KEY = "mesh-zone"
#: Request metadata key of the call's timeout in milliseconds. The server computes from it how long the call
#: has queued.
TIMEOUT_KEY = "mesh-timeout-ms"


def _bad_request(e: errors.InvalidArgument) -> list[Message]:
    violations = [
        details.BadRequest.FieldViolation(field=v.field, description=v.description) for v in e.violations
    ]
    return [details.BadRequest(field_violations=violations)]


def _resource(e: errors.NotFound | errors.AlreadyExists) -> list[Message]:
    return [details.ResourceInfo(resource_type=e.resource_type, resource_name=e.name, description=e.message)]


def _reason(
    e: errors.FailedPrecondition | errors.Aborted | errors.PermissionDenied | errors.Injected, domain: str
) -> list[Message]:
    r = e.reason
    return [details.ErrorInfo(reason=r.reason, domain=r.domain or domain, metadata=dict(r.metadata))]


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
    """Return the status code of an error; INTERNAL if the error is not in the table."""
    if isinstance(error, errors.Injected):
        return grpc.StatusCode[error.code]
    for cls in type(error).__mro__:
        if cls in _CODES:
            return _CODES[cls]
    return grpc.StatusCode.INTERNAL


def details_of(error: errors.MeshError, domain: str = "") -> list[Message]:
    """Return the google.rpc detail messages of an error. `domain` is that of a reason which names none."""
    match error:
        case errors.InvalidArgument():
            return _bad_request(error)
        case errors.NotFound() | errors.AlreadyExists():
            return _resource(error)
        case errors.FailedPrecondition() | errors.Aborted() | errors.PermissionDenied() | errors.Injected():
            return _reason(error, domain)
        case errors.ResourceExhausted() | errors.Unavailable():
            return _retry_info(error)
        case _:
            return []


def to_wire(
    error: BaseException, domain: str = ""
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Return the code, the message and the trailing metadata with which to abort a call.

    An error that is not in the table becomes INTERNAL with a fixed message, because its text may hold
    secrets.

    Args:
        error: What was raised.
        domain: The domain of a reason that names none.
    """
    code = code_of(error)
    unknown = code is grpc.StatusCode.INTERNAL and not isinstance(error, errors.Injected)
    if unknown or not isinstance(error, errors.MeshError):
        return grpc.StatusCode.INTERNAL, "internal error", ()
    message = error.message.encode("utf-8", "replace").decode("utf-8")[:MAX_MESSAGE]
    packed = _details(code, message, error, domain)
    if not packed:
        return code, message, ()
    trailing: list[tuple[str, str | bytes]] = [(DETAILS_KEY, packed)]
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        trailing.append((PUSHBACK_KEY, str(round(retry_after * 1000))))
    return code, message, tuple(trailing)


def _details(code: grpc.StatusCode, message: str, error: errors.MeshError, domain: str) -> bytes:
    """Return a serialized google.rpc.Status; empty if there are no details, or they cannot be sent."""
    try:
        packed = [_pack(d) for d in details_of(error, domain)]
    except (TypeError, ValueError):  # a value that is no text, or that UTF-8 cannot encode
        return b""
    if not packed:
        return b""
    serialized = status_pb2.Status(code=code.value[0], message=message, details=packed).SerializeToString()
    return serialized if len(serialized) <= MAX_DETAILS else b""


def from_wire(trailing: object) -> status_pb2.Status | None:
    """Return the google.rpc.Status in a call's trailing metadata, or None. For clients and tests.

    A malformed status is counted, and treated as absent. Malformed details of google.rpc types are counted
    and left out, so that `Unpack` does not raise for those that are returned.
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
    """Return the name of the replica that answered, from its trailing metadata; empty if there is none.

    The server chooses this name. A malformed one, which could corrupt a log or a terminal, is counted and
    treated as absent.
    """
    for key, value in trailing or ():  # type: ignore[attr-defined]
        if key == REPLICA_KEY:
            if isinstance(value, str) and _REPLICA.fullmatch(value):
                return value
            bad_values.count("replica")
            break
    return ""


def zone_of(initial: object) -> str:
    """Return the zone of a server, from its initial metadata; empty if there is none.

    A malformed zone is counted, and treated as absent.
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
