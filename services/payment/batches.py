"""A batch of charges, settled together: all of them or none.

All are recorded before the first is made, and their outcomes in one transaction when the last is known.
Before that transaction no payment of the batch counts; with it the batch is settled or has failed. It also
records the refunds that are owed for charges of a failed batch, which any replica pays.
"""

import contextlib
import uuid
from collections.abc import Sequence

from grpcmesh.clock import Clock
from grpcmesh.errors import Unavailable
from services.payment.domain import (
    KEY_LIFETIME,
    Charge,
    Outcome,
    Payment,
    Refund,
    Status,
    key_reused,
)
from services.payment.drafts import payment_draft, refund_draft, settle
from services.payment.ports import Acquirer, Store
from services.payment.recovery import ABANDONED_AFTER, Recovery

#: The most charges of one batch.
MAX_BATCH = 100
#: The most abandoned batches that one sweep finishes.
SWEEP_LIMIT = 10


class Batches:
    """Settles batches.

    Args:
        store: Records payments.
        acquirer: Moves the money.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, store: Store, acquirer: Acquirer, now: Clock) -> None:
        self._store, self._acquirer, self._now = store, acquirer, now
        self._recovery = Recovery(store, acquirer, now)

    async def process(self, charges: Sequence[Charge]) -> Sequence[Payment]:
        """Charge a batch. Return its payments in order: all succeeded, or none did.

        Args:
            charges: Each has an instrument. Either each has a key of its own, or none has a key.

        Raises:
            FailedPrecondition: KEY_REUSED, if a key was used for anything but this batch.
            Unavailable: the outcome is not known yet.
        """
        payments = await self._begin(charges)
        if all(payment.status is not Status.PROCESSING for payment in payments):
            return payments
        if self._now() - payments[0].created_at > KEY_LIFETIME:
            return await self._conclude(payments)  # the acquirer may have forgotten the references
        return await self._finish(payments, await self._charge(payments, charges))

    async def _begin(self, charges: Sequence[Charge]) -> Sequence[Payment]:
        batch, now = f"batch_{uuid.uuid4().hex}", self._now()
        begun = await self._store.begin_all([payment_draft(charge, now, batch) for charge in charges])
        return begun if begun is not None else await self._begun_before(charges)

    async def _begun_before(self, charges: Sequence[Charge]) -> Sequence[Payment]:
        """Return the batch that a client sends again."""
        key = charges[0].key
        first = await self._store.find(key) if key else None
        found = await self._store.of_batch(first.batch) if first and first.batch else ()
        if [payment.key for payment in found] != [charge.key for charge in charges]:
            raise key_reused()
        if not all(payment.is_of(charge) for payment, charge in zip(found, charges, strict=True)):
            raise key_reused()
        return found

    async def _charge(self, payments: Sequence[Payment], charges: Sequence[Charge]) -> list[Outcome]:
        """Make one charge after the other, and stop after one that is declined."""
        outcomes: list[Outcome] = []
        for index, (payment, charge) in enumerate(zip(payments, charges, strict=True)):
            assert charge.instrument is not None  # required
            outcomes.append(await self._acquirer.charge(payment.reference, payment.amount, charge.instrument))
            if not outcomes[-1].approved:
                spared = Outcome(False, "", f"not charged, as requests[{index}] was declined")
                return outcomes + [spared] * (len(payments) - len(outcomes))
        return outcomes

    async def _finish(self, payments: Sequence[Payment], outcomes: Sequence[Outcome]) -> Sequence[Payment]:
        undo = [] if all(outcome.approved for outcome in outcomes) else self._undo(payments, outcomes)
        batch = payments[0].batch
        assert batch is not None  # it is one
        if await self._store.finish_all(payments, outcomes, undo, self._now()):
            for refund in undo:
                await settle(self._store, self._acquirer, refund, self._now())
        else:  # another replica was faster, and may have given up charges that were made since
            for recorded, outcome in zip(await self._store.of_batch(batch), outcomes, strict=True):
                await self._recovery.disown(recorded, outcome)
        return await self._store.of_batch(batch)

    def _undo(self, payments: Sequence[Payment], outcomes: Sequence[Outcome]) -> list[Refund]:
        return [
            refund_draft(payment.id, payment.amount, "the batch failed", None, self._now())
            for payment, outcome in zip(payments, outcomes, strict=True)
            if outcome.approved
        ]

    async def sweep(self) -> int:
        """Finish the batches that a crashed replica left. Return how many.

        A batch of which not everything was charged fails. Any replica may do it at any time: the transaction
        at the end is done once.
        """
        finished = 0
        for batch in await self._store.unfinished_batches(self._now() - ABANDONED_AFTER, SWEEP_LIMIT):
            with contextlib.suppress(Unavailable):  # due at a later sweep
                await self._conclude(await self._store.of_batch(batch))
                finished += 1
        return finished

    async def _conclude(self, payments: Sequence[Payment]) -> Sequence[Payment]:
        return await self._finish(payments, [await self._recovery.outcome(payment) for payment in payments])
