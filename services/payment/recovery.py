"""Recovers charges whose answer was lost, and refunds charges that turn up after they were given up.

A processor cannot be asked to close a charge that was never made. It can make a charge again with the same
reference, which only a caller with the instrument can request, and it can search for one. So a charge that
nobody requests again is searched for. One that cannot be found long after it was begun is given up. One that
turns up even later is refunded. No step guesses: until the outcome is known, callers are told to ask again.
"""

from grpcmesh.clock import Clock
from grpcmesh.errors import Unavailable
from services.payment.domain import NOT_MADE, Outcome, Payment, Status
from services.payment.drafts import refund_draft, settle
from services.payment.ports import Acquirer, Store

#: Seconds after which no call works on a payment in PROCESSING any more: longer than any call may take.
ABANDONED_AFTER = 30.0
#: Seconds for which a charge that was given up is searched for, at intervals that double from the first:
#: twice as long as Stripe says that its search may be behind in an outage.
WATCHED_FOR, FIRST_LOOK = 2 * 3600.0, 10.0
#: The most charges searched for in one sweep.
SWEEP_LIMIT = 100
#: Seconds after which it makes sense to ask again for an outcome that is not known yet.
ASK_AGAIN = 1.0


class Recovery:
    """Finds out the outcomes of charges.

    Args:
        store: Records payments.
        acquirer: Moves the money.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, store: Store, acquirer: Acquirer, now: Clock) -> None:
        self._store, self._acquirer, self._now = store, acquirer, now

    async def outcome(self, payment: Payment) -> Outcome:
        """Return the outcome of a charge that was begun; `NOT_MADE` if it can be given up.

        Raises:
            Unavailable: it may still be made, or be found.
        """
        found = await self._acquirer.search(payment.reference)
        if found is not None:
            return found
        if self._now() - payment.created_at <= ABANDONED_AFTER + self._acquirer.search_lag:
            raise Unavailable(f"it is not known yet what became of payment {payment.id}", ASK_AGAIN)
        return NOT_MADE

    async def disown(self, payment: Payment, outcome: Outcome) -> bool:
        """Refund a charge that was made although its payment had been given up.

        Return whether it was such a charge.
        """
        if not outcome.approved or payment.status is not Status.FAILED:
            return False
        reason = "it came after the payment had been given up"
        refund = refund_draft(payment.id, payment.amount, reason, None, self._now())
        if await self._store.undo(payment.id, outcome, refund):
            await settle(self._store, self._acquirer, refund, self._now())
        return True

    async def look_again(self) -> int:
        """Search for charges that were given up.

        Return how many were searched for. Any replica may do it at any time.
        """
        due = await self._store.watched(self._now(), SWEEP_LIMIT)
        for payment in due:
            found = await self._acquirer.search(payment.reference)
            if found is None or not await self.disown(payment, found):
                await self._store.watch(payment.id, self._next_look(payment))
        return len(due)

    def _next_look(self, payment: Payment) -> float | None:
        waited = self._now() - payment.processed_at
        return None if waited > WATCHED_FOR else self._now() + max(waited, FIRST_LOOK)
