"""The typed errors that domain code raises, without grpc. `grpcmesh.status` maps them to the wire.

The vocabulary follows google.rpc (https://google.aip.dev/193). Each error holds what a caller can act on,
such as the field, the resource or the rule. The table in `grpcmesh.status` maps it to a status code with
details.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class MeshError(Exception):
    """The base class of all errors that are mapped to the wire.

    Args:
        message: Description for people. It is sent to the caller, so it must not hold a secret.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field of a request: its path (`items[0].quantity`) and what is wrong with it."""

    field: str
    description: str


class InvalidArgument(MeshError):
    """Raised for a request that is wrong in any state of the system. Names every wrong field."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = tuple(violations)


class NotFound(MeshError):
    """Raised if a resource does not exist."""

    def __init__(self, resource_type: str, name: str) -> None:
        super().__init__(f"{resource_type} {name} not found")
        self.resource_type, self.name = resource_type, name


class AlreadyExists(MeshError):
    """Raised if the resource to create exists already."""

    def __init__(self, resource_type: str, name: str) -> None:
        super().__init__(f"{resource_type} {name} already exists")
        self.resource_type, self.name = resource_type, name


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable, machine-readable reason (`OUT_OF_STOCK`), its domain and its facts.

    The domain says whose reason it is, such as `shop.example.com` (https://google.aip.dev/193). If it is
    empty, the server fills in its own, the setting `MESH_SERVER_ERROR_DOMAIN`.
    """

    reason: str
    domain: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class FailedPrecondition(MeshError):
    """Raised if a business rule forbids the operation in the current state."""

    def __init__(self, message: str, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = Reason(reason, metadata=metadata)


class Aborted(MeshError):
    """Raised if a concurrent change conflicts. The caller may start over."""

    def __init__(self, message: str, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = Reason(reason, metadata=metadata)


class Unauthenticated(MeshError):
    """Raised if the credential is missing or bad."""


class PermissionDenied(MeshError):
    """Raised if the caller is identified but not permitted to do this."""

    def __init__(self, message: str, reason: str = "PERMISSION_DENIED", **metadata: str) -> None:
        super().__init__(message)
        self.reason = Reason(reason, metadata=metadata)


class ResourceExhausted(MeshError):
    """Raised if there is too much load. `retry_after` is in seconds; None asks for no particular delay."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(MeshError):
    """Raised if the call cannot be served now, but may succeed soon. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(MeshError):
    """Raised if the time for the call is over."""


class Injected(MeshError):
    """Raised by an injected fault. `code` is the name of the status code to end the call with."""

    code = "UNKNOWN"

    def __init__(self, code: str) -> None:
        super().__init__("a fault has been set here on purpose")
        self.code = code
        self.reason = Reason("FAULT_INJECTED")
