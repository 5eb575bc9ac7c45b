"""The use cases: charge once, refund no more than was paid, void, and finish what a crash left.

Every step is recorded before the acquirer is asked, and the acquirer is asked with our own reference. So
whatever happens in between, asking again gives the same answer and moves no money twice. If nobody asks
again, `services.payment.recovery` finds out.
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
    """The use cases of charges and refunds.

    Args:
        store: Records them.
        acquirer: Moves the money.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, store: Store, acquirer: Acquirer, now: Clock) -> None:
        self._store, self._acquirer, self._now = store, acquirer, now
        self._recovery = Recovery(store, acquirer, now)

    async def process(self, charge: Charge) -> Payment:
        """Charge once per key. A decline is a payment in status FAILED, not an error.

        Raises:
            InvalidArgument: there is neither an instrument nor a key.
            FailedPrecondition: KEY_REUSED; NO_SUCH_PAYMENT if there is neither an instrument nor a recorded
                payment.
            Unavailable: the outcome is not known yet.
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
        """Find out the outcome of a charge that another call began, without making it."""
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
        """Refund part or all of a payment, once per key. `amount` is in cents.

        Raises:
            Unauthenticated, PermissionDenied: neither the order service nor an admin calls.
            NotFound: there is no such payment.
            FailedPrecondition: REFUND_EXCEEDS_PAYMENT, PAYMENT_NOT_COMPLETED or KEY_REUSED.
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
        """Close a key: refund what was charged under it, and let nothing be charged any more.

        A payment in status VOIDED takes the key, so that a late charge finds the key taken.

        Returns:
            The payment as it is now; None if nothing was ever charged.

        Raises:
            PermissionDenied: another service than the order service calls.
            Unavailable: a charge is in flight, and its outcome is not known yet.
        """
        caller.require_order_service()
        fence = Payment(0, 0, 0, 0, None, Status.VOIDED, caller.scoped(key), "", "", self._now())
        payment = await self._conclude(await self._store.begin(fence))
        while payment.status is Status.COMPLETED:
            payment = await self._give_back(payment, reason)
        return None if payment.status is Status.VOIDED else payment

    async def _give_back(self, payment: Payment, reason: str) -> Payment:
        # If it is refused, another refund came between. Each leaves less to refund, so the loop ends.
        with contextlib.suppress(FailedPrecondition):
            await self._refund(payment.id, payment.amount - payment.refunded, reason, None)
        return await self._store.get(payment.id)

    async def history(self, user_id: int, page: Page) -> Slice[Payment]:
        """Return a page of a user's payments, the newest first."""
        return await self._store.history(user_id, page)

    async def sweep(self) -> int:
        """Finish what a crashed replica began and nobody asked about again. Return how many.

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
        await self._store.backfill_events(self._now(), SWEEP_LIMIT)
        await self._store.number()  # if nobody follows payments, unnumbered ones would accumulate
        return len(payments) + len(refunds) + await self._recovery.look_again()
