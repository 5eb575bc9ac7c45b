"""What the use cases need: somebody who moves the money, and somewhere to record it."""

from collections.abc import Collection, Sequence
from typing import Protocol

from services.kit.paging import Page, Slice
from services.payment.domain import Instrument, Outcome, Payment, Refund


class Acquirer(Protocol):
    """The processor behind us, as far as it is used: what real ones offer, and no more.

    docs/processor.md says what each method needs of a real one, and which of its calls serves.
    """

    @property
    def search_lag(self) -> float:
        """Seconds within which `search` finds a charge that was made."""
        ...

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        """Charges once per reference: asked again within `KEY_LIFETIME`, answers again."""
        ...

    async def search(self, reference: str) -> Outcome | None:
        """The charge with that reference; None if there is none, or none to be found yet."""
        ...

    async def refund(self, reference: str, transaction_id: str, amount: int) -> None:
        """Gives money of a charge back, once per reference within `KEY_LIFETIME`."""
        ...

    async def refunds(self, transaction_id: str) -> Collection[str]:
        """The references of a charge's refunds."""
        ...


class Store(Protocol):
    """Where payments are recorded. Each method is one transaction."""

    async def begin(self, payment: Payment) -> Payment:
        """Records it, unless its key is taken: returns what is recorded under the key."""
        ...

    async def get(self, payment_id: int) -> Payment: ...

    async def find(self, key: str) -> Payment | None: ...

    async def begin_all(self, batch: Sequence[Payment]) -> Sequence[Payment] | None:
        """Records the payments of a batch; None, and nothing is recorded, where a key of theirs is taken."""
        ...

    async def of_batch(self, batch: str) -> Sequence[Payment]:
        """In the order of the batch."""
        ...

    async def finish_all(
        self, batch: Sequence[Payment], outcomes: Sequence[Outcome], undo: Sequence[Refund], now: float
    ) -> bool:
        """Records the acquirer's answers to a whole batch, unless they are recorded; whether it did.

        Args:
            batch: All of its payments.
            outcomes: One for each.
            undo: For each that was charged in vain, the refund that gives it back.
            now: Unix seconds.
        """
        ...

    async def finish(self, payment_id: int, outcome: Outcome, now: float) -> Payment:
        """Records the acquirer's answer, unless one is recorded; returns what is.

        A charge that was given up (`outcome.made` is false) is looked for again, see `watched`.
        """
        ...

    async def watched(self, now: float, limit: int) -> Sequence[Payment]:
        """Payments that were given up and are due to be looked for again."""
        ...

    async def watch(self, payment_id: int, look_at: float | None) -> None:
        """Sets when a payment that was given up is looked for again; None: never."""
        ...

    async def undo(self, payment_id: int, outcome: Outcome, refund: Refund) -> bool:
        """Records a charge that turned up after it had been given up, and the refund that gives it back.

        Returns:
            Whether it was recorded; false if it had been.
        """
        ...

    async def open_refund(self, refund: Refund) -> Refund:
        """Sets the amount aside, never more than is left; returns what is recorded under the key.

        Raises:
            NotFound, FailedPrecondition: as `Payment.refuse_refund` says, or KEY_REUSED.
        """
        ...

    async def settle_refund(self, refund_id: str) -> None: ...

    async def tell_untold(self, now: float, limit: int) -> int:
        """Has orders told of refunds that a version before this one told nobody of; how many these were."""
        ...

    async def history(self, user_id: int, page: Page) -> Slice[Payment]: ...

    async def unfinished(self, before: float, limit: int) -> Sequence[Payment]:
        """Payments in PROCESSING since before that time, those of batches left out."""
        ...

    async def unfinished_batches(self, before: float, limit: int) -> Sequence[str]: ...

    async def unsettled(self, before: float, limit: int) -> Sequence[Refund]: ...

    async def settled(self, after: int, limit: int) -> Sequence[Payment]:
        """What was settled after a cursor, oldest first."""
        ...

    async def number(self) -> int:
        """Gives a cursor to what was settled since the last time; how many payments that were."""
        ...

    async def last_cursor(self) -> int:
        """Of the payment that was settled last; 0 where none was."""
        ...
