"""The ports of the use cases of payments: the acquirer and storage."""

from collections.abc import Collection, Sequence
from typing import Protocol

from services.kit.paging import Page, Slice
from services.payment.domain import Instrument, Outcome, Payment, Refund


class Acquirer(Protocol):
    """Port: the payment processor, reduced to what is used and what real ones offer.

    docs/processor.md says what each method requires of a real processor, and which of its calls to use.
    """

    @property
    def search_lag(self) -> float:
        """Return the seconds within which `search` finds a charge that was made."""
        ...

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        """Charge once per reference. A repeated call within `KEY_LIFETIME` returns the same outcome."""
        ...

    async def search(self, reference: str) -> Outcome | None:
        """Return the charge with that reference; None if there is none, or if it cannot be found yet."""
        ...

    async def refund(self, reference: str, transaction_id: str, amount: int) -> None:
        """Refund money of a charge, once per reference within `KEY_LIFETIME`."""
        ...

    async def refunds(self, transaction_id: str) -> Collection[str]:
        """Return the references of a charge's refunds."""
        ...


class Store(Protocol):
    """Port: stores payments. Each method is one transaction."""

    async def begin(self, payment: Payment) -> Payment:
        """Record a payment unless its key is taken. Return what is recorded with the key."""
        ...

    async def get(self, payment_id: int) -> Payment: ...

    async def find(self, key: str) -> Payment | None: ...

    async def begin_all(self, batch: Sequence[Payment]) -> Sequence[Payment] | None:
        """Record the payments of a batch. Return None, and record nothing, if a key of theirs is taken."""
        ...

    async def of_batch(self, batch: str) -> Sequence[Payment]:
        """Return the payments of a batch, in its order."""
        ...

    async def finish_all(
        self, batch: Sequence[Payment], outcomes: Sequence[Outcome], undo: Sequence[Refund], now: float
    ) -> bool:
        """Record the acquirer's answers to a whole batch, unless they are recorded. Return whether it did.

        Args:
            batch: All payments of the batch.
            outcomes: The outcome of each.
            undo: A refund for each charge that was made although the batch failed.
            now: Unix seconds.
        """
        ...

    async def finish(self, payment_id: int, outcome: Outcome, now: float) -> Payment:
        """Record the acquirer's answer, unless one is recorded. Return the recorded payment.

        A charge that was given up (`outcome.made` is false) is searched for again, see `watched`.
        """
        ...

    async def watched(self, now: float, limit: int) -> Sequence[Payment]:
        """Return payments that were given up and are due for another search."""
        ...

    async def watch(self, payment_id: int, look_at: float | None) -> None:
        """Set the Unix time at which a payment that was given up is searched for again; None means never."""
        ...

    async def undo(self, payment_id: int, outcome: Outcome, refund: Refund) -> bool:
        """Record a charge that turned up after it had been given up, and the refund for it.

        Returns:
            Whether this call recorded it; False if it was already recorded.
        """
        ...

    async def open_refund(self, refund: Refund) -> Refund:
        """Set the amount aside, never more than is left. Return the refund that is recorded with the key.

        Raises:
            NotFound: there is no such payment.
            FailedPrecondition: the refund is refused, see `Payment.refuse_refund`.
        """
        ...

    async def settle_refund(self, refund_id: str) -> None: ...

    async def backfill_events(self, now: float, limit: int) -> int:
        """Add the outbox events of refunds that an older version made without one. Return how many."""
        ...

    async def history(self, user_id: int, page: Page) -> Slice[Payment]: ...

    async def unfinished(self, before: float, limit: int) -> Sequence[Payment]:
        """Return payments in PROCESSING since before that time, except those of batches."""
        ...

    async def unfinished_batches(self, before: float, limit: int) -> Sequence[str]: ...

    async def unsettled(self, before: float, limit: int) -> Sequence[Refund]: ...

    async def settled(self, after: int, limit: int) -> Sequence[Payment]:
        """Return the payments settled after a cursor, the oldest first."""
        ...

    async def number(self) -> int:
        """Number the payments that were settled since the last call. Return how many."""
        ...

    async def last_cursor(self) -> int:
        """Return the cursor of the payment that was settled last; 0 if there is none."""
        ...
