"""Converts payments and refunds to and from rows of their tables."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from services.payment.domain import Method, Outcome, Payment, Refund, Status


def status_of(outcome: Outcome, *, undone: bool) -> Status:
    """Return the status of a payment with that outcome."""
    if undone:
        return Status.UNDONE
    return Status.COMPLETED if outcome.approved else Status.FAILED


def outcome_columns(status: Status, outcome: Outcome, now: float) -> dict[str, Any]:
    """Return the columns that record an outcome. `now` is in Unix seconds."""
    return {
        "status": status.value,
        "transaction_id": outcome.transaction_id,
        "message": outcome.message,
        "processed_at": now,
        "to_number": now,
        # A charge that was given up may still turn up.
        "look_at": None if outcome.made else now,
    }


def columns_of(payment: Payment) -> dict[str, Any]:
    """Return the columns of a payment."""
    columns = asdict(payment)
    del columns["id"]
    return columns | {
        "status": payment.status.value,
        "method": payment.method.value if payment.method else None,
        "cursor": payment.cursor or None,
    }


def payment_of(row: sa.Row[Any]) -> Payment:
    """Return the payment in a row."""
    values = dict(row._mapping)
    values["status"] = Status(row.status)
    values["method"] = Method(row.method) if row.method else None
    values["cursor"] = row.cursor or 0
    del values["look_at"], values["to_number"]
    return Payment(**values)


def refund_of(row: sa.Row[Any]) -> Refund:
    """Return the refund in a row."""
    return Refund(**{name: value for name, value in row._mapping.items() if name != "told"})
