"""The use cases: charge once, refund no more than was paid, void, and finish what a crash left.

Every step is recorded before the acquirer is asked, and the acquirer is asked under a reference of
ours. So whatever happens in between, asking again gives the same answer and moves no money twice.
Where nobody asks again, `services.payment.recovery` finds out.
"""

import contextlib

from grpcmesh.clock import Clock
from grpcmesh.errors import FailedPrecondition, FieldViolation, InvalidArgument, Unavailable
from services.kit.paging import Page, Slice
from services.payment.domain import KEY_LIFETIME, Caller, Charge, Outcome, Payment, Refund, Status
from services.payment.drafts import payment_draft, refund_draft, settle
from services.payment.ports import Acquirer, Store
from services.payment.recovery import ABANDONED_AFTER, SWEEP_LIMIT, Recovery


class Payments:
    """Charges and refunds.

    Args:
        store: Where they are recorded.
        acquirer: Who moves the money.
        now: Unix seconds.
    """

    def __init__(self, store: Store, acquirer: Acquirer, now: Clock) -> None:
        self._store, self._acquirer, self._now = store, acquirer, now
        self._recovery = Recovery(store, acquirer, now)

    async def process(self, charge: Charge) -> Payment:
        """Charges once per key. A decline is a payment in status FAILED, not an error.

        Raises:
            FailedPrecondition: KEY_REUSED; NO_SUCH_PAYMENT where there is neither instrument nor record.
            Unavailable: it is not known yet what became of it.
        """
        if charge.instrument is None:
            return await self._recorded(charge)
        payment = await self._store.begin(payment_draft(charge, self._now()))
        payment.require_same(charge)
        if payment.status is not Status.PROCESSING:
            return payment
        if self._now() - payment.created_at > KEY_LIFETIME:
            return await self._conclude(payment)  # the acquirer may have forgotten the reference
        outcome = await self._acquirer.charge(payment.reference, payment.amount, charge.instrument)
        return await self._record(payment, outcome)

    async def _recorded(self, charge: Charge) -> Payment:
        if charge.key is None:
            raise InvalidArgument([FieldViolation("payment_method", "is required")])
        payment = await self._store.find(charge.key)
        if payment is None:
            raise FailedPrecondition("nothing was charged under this key", "NO_SUCH_PAYMENT")
        payment.require_same(charge)
        return await self._conclude(payment)

    async def _conclude(self, payment: Payment) -> Payment:
        """Learns what became of a charge that somebody else began, without making it."""
        if payment.status is not Status.PROCESSING:
            return payment
        return await self._record(payment, await self._recovery.outcome(payment))

    async def _record(self, payment: Payment, outcome: Outcome) -> Payment:
        recorded = await self._store.finish(payment.id, outcome, self._now())
        if await self._recovery.disown(recorded, outcome):
            return await self._store.get(payment.id)
        return recorded

    async def refund(
        self, caller: Caller, payment_id: int, amount: int, reason: str, key: str | None
    ) -> Refund:
        """Gives back part or all of a payment, once per key.

        Raises:
            NotFound, FailedPrecondition: REFUND_EXCEEDS_PAYMENT, PAYMENT_NOT_COMPLETED, KEY_REUSED.
        """
        caller.require_refunder()
        return await self._refund(payment_id, amount, reason, key)

    async def _refund(self, payment_id: int, amount: int, reason: str, key: str | None) -> Refund:
        draft = refund_draft(payment_id, amount, reason, key, self._now())
        refund = await self._store.open_refund(draft)
        refund.require_same(draft)
        await settle(self._store, self._acquirer, refund, self._now())
        return refund

    async def void(self, caller: Caller, key: str, reason: str) -> Payment | None:
        """Closes a key: gives back what was charged under it, and lets nothing be charged any more.

        The fence is a payment in status VOIDED that takes the key: a charge that comes late finds it.

        Returns:
            The payment as it is now; None where nothing was ever charged.

        Raises:
            Unavailable: a charge is under way, and it is not known yet what becomes of it.
        """
        caller.require_order_service()
        fence = Payment(0, 0, 0, 0, None, Status.VOIDED, caller.scoped(key), "", "", self._now())
        payment = await self._conclude(await self._store.begin(fence))
        while payment.status is Status.COMPLETED:
            payment = await self._give_back(payment, reason)
        return None if payment.status is Status.VOIDED else payment

    async def _give_back(self, payment: Payment, reason: str) -> Payment:
        # Refused: another refund came between. What is left now is smaller, so this ends.
        with contextlib.suppress(FailedPrecondition):
            await self._refund(payment.id, payment.amount - payment.refunded, reason, None)
        return await self._store.get(payment.id)

    async def history(self, user_id: int, page: Page) -> Slice[Payment]:
        """One page of a user's payments, newest first."""
        return await self._store.history(user_id, page)

    async def sweep(self) -> int:
        """Finishes what a crashed replica began and nobody asked about again; returns how many.

        Any replica may do it at any time: each step is idempotent.
        """
        before = self._now() - ABANDONED_AFTER
        payments = await self._store.unfinished(before, SWEEP_LIMIT)
        for payment in payments:
            with contextlib.suppress(Unavailable):  # due at a later sweep
                await self._conclude(payment)
        refunds = await self._store.unsettled(before, SWEEP_LIMIT)
        for refund in refunds:
            await settle(self._store, self._acquirer, refund, self._now())
        await self._store.tell_untold(self._now(), SWEEP_LIMIT)
        await self._store.number()  # where nobody follows payments, or what must be numbered would only grow
        return len(payments) + len(refunds) + await self._recovery.look_again()
