"""New payments and refunds, and the settlement of a refund: for single charges and batches."""

import uuid

from services.payment.domain import KEY_LIFETIME, Charge, Payment, Refund, Status
from services.payment.ports import Acquirer, Store


def payment_draft(charge: Charge, now: float, batch: str | None = None) -> Payment:
    """Return the payment of a charge, to be recorded before the acquirer is asked to make it.

    Args:
        charge: The charge, with or without an instrument.
        now: Unix seconds.
        batch: The batch that it is settled with.
    """
    instrument = charge.instrument
    return Payment(
        id=0,
        user_id=charge.user_id,
        order_id=charge.order_id,
        amount=charge.amount,
        method=instrument.method if instrument else None,
        status=Status.PROCESSING,
        key=charge.key,
        # Random, not derived: a hash of a card number can be reversed by trying all numbers.
        token=f"tok_{uuid.uuid4().hex}",
        last_four=instrument.last_four if instrument else "",
        created_at=now,
        batch=batch,
    )


def refund_draft(payment_id: int, amount: int, reason: str, key: str | None, now: float) -> Refund:
    """Return a refund that the acquirer does not have yet. `amount` is in cents, `now` in Unix seconds."""
    return Refund(f"re_{uuid.uuid4().hex}", payment_id, amount, reason, key, now)


async def settle(store: Store, acquirer: Acquirer, refund: Refund, now: float) -> None:
    """Have the acquirer refund the money. Idempotent: it is refunded once.

    Args:
        now: Unix seconds.
    """
    if refund.settled:
        return
    payment = await store.get(refund.payment_id)
    if not await _is_made(acquirer, payment, refund, now):
        await acquirer.refund(refund.id, payment.transaction_id, refund.amount)
    await store.settle_refund(refund.id)


async def _is_made(acquirer: Acquirer, payment: Payment, refund: Refund, now: float) -> bool:
    # While the acquirer remembers the reference, asking again is safe and costs one call instead of two.
    if now - refund.created_at <= KEY_LIFETIME:
        return False
    return refund.id in await acquirer.refunds(payment.transaction_id)
