"""Errors of placing an order, and the recorded reason why an order failed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from grpcmesh.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    MeshError,
    NotFound,
    Unavailable,
)


class OutcomeUnknown(Exception):  # noqa: N818
    """A step may or may not have happened. Asking again with the same key will tell."""


class Superseded(Exception):  # noqa: N818
    """The order was changed by another call or replica since it was read."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The recorded reason why an order failed: a retry with the same key gets the same error."""

    kind: str
    message: str
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: MeshError) -> "Failure":
        match error:
            case FailedPrecondition():
                return cls("rule", error.message, error.reason.reason, dict(error.reason.metadata))
            case NotFound():
                return cls("missing", error.name, error.resource_type)
            case InvalidArgument():
                return cls("invalid", error.message, facts={v.field: v.description for v in error.violations})
            case _:
                return cls("transient", error.message)

    @property
    def transient(self) -> bool:
        """Return whether placing the same order again may succeed."""
        return self.kind == "transient"

    def error(self) -> MeshError:
        """Return the error for the caller."""
        match self.kind:
            case "rule":
                return FailedPrecondition(self.message, self.reason, **self.facts)
            case "missing":
                return NotFound(self.reason, self.message)
            case "invalid":
                return InvalidArgument([FieldViolation(f, text) for f, text in self.facts.items()])
            case _:
                return Unavailable(self.message)


def price_changed(expected: int, total: int) -> FailedPrecondition:
    """Return the error for an order whose total differs from the one that the buyer was shown.

    Both are in cents.
    """
    return FailedPrecondition(
        f"the total is now {total / 100:.2f}, not {expected / 100:.2f}: prices have changed",
        "PRICE_CHANGED",
        total=f"{total / 100:.2f}",
        total_cents=str(total),
        expected_total=f"{expected / 100:.2f}",
        expected_total_cents=str(expected),
    )


def order_not_found(order_id: int) -> NotFound:
    """Return the error for an order that does not exist."""
    return NotFound("order", str(order_id))
