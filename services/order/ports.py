"""The ports of the use cases of orders: stock, money and storage."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.kit.paging import Page, Slice
from services.order.domain import Event, Instrument, Line, Order, Status


class Catalogue(Protocol):
    """Port: stock and prices. Both methods are idempotent under the key.

    Raises:
        MeshError: it did not happen.
        OutcomeUnknown: it may have happened.
    """

    async def reserve(self, key: str, lines: Sequence[Line]) -> tuple[Line, ...]: ...

    async def release(self, key: str) -> None:
        """Give back what is held under the key. Nothing can be reserved under it any more."""
        ...


class Cashier(Protocol):
    """Port: money. All methods are idempotent under the order's key.

    They raise the same errors as `Catalogue`'s.
    """

    async def charge(self, order: Order, instrument: Instrument | None) -> int:
        """Charge the instrument, or the wallet on file. Return the payment's id.

        Without both it returns what was charged before, and raises Aborted if nothing was.
        """
        ...

    async def void(self, order: Order) -> int:
        """Refund what was charged. Nothing can be charged under the key any more.

        Returns:
            What has been refunded in all, in cents; 0 if nothing was ever charged.
        """
        ...

    async def refunded(self, order: Order) -> int:
        """Return how much of an order's payment has been refunded, in cents."""
        ...


class Store(Protocol):
    """Port: stores orders. Each method is one transaction."""

    async def create(self, order: Order) -> tuple[Order, bool]:
        """Record an order unless the user's key is taken.

        Return the recorded order, and whether this call recorded it.
        """
        ...

    async def get(self, order_id: int) -> Order: ...

    async def save(
        self,
        order: Order,
        message: str = "",
        *,
        prices: bool = False,
        repaid: int = 0,
        arrived: bool = True,
    ) -> Order:
        """Record a change of `order.version`, with an event if there is a message. Return the next version.

        Args:
            order: The changed order.
            message: The text for the order's history.
            prices: Whether to record the names and prices of the lines.
            repaid: Cents refunded with this change.
            arrived: Whether the change brings the order into its status.

        Raises:
            Superseded: that version is not the latest; nothing is recorded.
        """
        ...

    async def page(self, user_id: int, status: Status | None, page: Page) -> Slice[Order]: ...

    async def events(self, order_id: int, after: int, limit: int) -> Sequence[Event]: ...

    async def versions(self, order_ids: Sequence[int]) -> Mapping[int, int]: ...

    async def backfill_events(self, now: float, limit: int) -> int:
        """Add the outbox events of orders that an older version shipped without one.

        Returns:
            How many orders it has checked, at most `limit`.
        """
        ...

    async def stuck(self, now: float, limit: int) -> Sequence[Order]:
        """Return at most `limit` orders with a step to do whose lease has ended."""
        ...
