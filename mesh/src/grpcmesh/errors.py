"""The typed errors that a domain raises. No grpc here: `grpcmesh.status` maps them to the wire.

The vocabulary follows google.rpc (https://google.aip.dev/193): each error knows what a caller can
act on (which field, which resource, which rule), and the table in `grpcmesh.status` turns that into a
status code with details.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class MeshError(Exception):
    """Root of all errors that have a place on the wire.

    Args:
        message: For a person. It reaches the caller, so it never holds a secret.
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
    """The request is wrong whatever the state of the system. Names every wrong field."""

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = tuple(violations)


class NotFound(MeshError):
    """The thing named is not there."""

    def __init__(self, resource_type: str, name: str) -> None:
        super().__init__(f"{resource_type} {name} not found")
        self.resource_type, self.name = resource_type, name


class AlreadyExists(MeshError):
    """The thing to create is there already."""

    def __init__(self, resource_type: str, name: str) -> None:
        super().__init__(f"{resource_type} {name} already exists")
        self.resource_type, self.name = resource_type, name


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable, machine-readable reason (`OUT_OF_STOCK`), its domain and its facts."""

    reason: str
    domain: str = "meshmart"
    metadata: Mapping[str, str] = field(default_factory=dict)


class FailedPrecondition(MeshError):
    """A rule of the business forbids it in the present state."""

    def __init__(self, message: str, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = Reason(reason, metadata=metadata)


class Aborted(MeshError):
    """A concurrent change won; the caller may start over."""

    def __init__(self, message: str, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = Reason(reason, metadata=metadata)


class Unauthenticated(MeshError):
    """There is no credential, or a bad one."""


class PermissionDenied(MeshError):
    """The caller is known and may not."""

    def __init__(self, message: str, reason: str = "PERMISSION_DENIED", **metadata: str) -> None:
        super().__init__(message)
        self.reason = Reason(reason, metadata=metadata)


class ResourceExhausted(MeshError):
    """Too much at once. `retry_after` is in seconds; None asks the caller not to retry."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(MeshError):
    """Not now; the same call may succeed shortly. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(MeshError):
    """The time given for the call is over."""


class Injected(MeshError):
    """A fault that somebody has set on purpose. `code` is the name of the status code that it wants."""

    code = "UNKNOWN"

    def __init__(self, code: str) -> None:
        super().__init__("a fault has been set here on purpose")
        self.code = code
        self.reason = Reason("FAULT_INJECTED")
