"""What the use cases of orders need of others: stock, money, and a place to record."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.kit.paging import Page, Slice
from services.order.domain import Event, Instrument, Line, Order, Status


class Catalogue(Protocol):
    """Stock and prices. Both methods are idempotent under the key.

    Raises:
        MeshError: it surely did not happen.
        OutcomeUnknown: it may have.
    """

    async def reserve(self, key: str, lines: Sequence[Line]) -> tuple[Line, ...]: ...

    async def release(self, key: str) -> None:
        """Gives back what is held under the key; nothing can be reserved under it any more."""
        ...


class Cashier(Protocol):
    """Money. All methods are idempotent under the order's key; they raise as `Catalogue`'s do."""

    async def charge(self, order: Order, instrument: Instrument | None) -> int:
        """Charges the instrument, or the wallet on file; the payment's id.

        Without both it answers what was charged before; Aborted, if nothing was.
        """
        ...

    async def void(self, order: Order) -> int:
        """Gives back what was charged; nothing can be charged under the key any more.

        Returns:
            What has been given back in all, in cents; 0 if nothing was ever charged.
        """
        ...

    async def refunded(self, order: Order) -> int:
        """What has been given back of an order's payment so far, in cents."""
        ...


class Store(Protocol):
    """Where orders are recorded. Each method is one transaction."""

    async def create(self, order: Order) -> tuple[Order, bool]:
        """Records it, unless the user's key is taken: what is recorded, and whether this call did it."""
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
        """Records a change of `order.version`, with an event if there is a message, and returns the next.

        Args:
            message: For the order's history.
            prices: Whether names and prices of the lines are recorded.
            repaid: Cents given back with this change.
            arrived: Whether it brings the order into its status.

        Raises:
            Superseded: that version is not the latest; nothing is recorded.
        """
        ...

    async def page(self, user_id: int, status: Status | None, page: Page) -> Slice[Order]: ...

    async def events(self, order_id: int, after: int, limit: int) -> Sequence[Event]: ...

    async def versions(self, order_ids: Sequence[int]) -> Mapping[int, int]: ...

    async def tell_untold(self, now: float, limit: int) -> int:
        """Has the catalogue told of orders that a version which tells nobody has shipped.

        Returns:
            How many orders it has looked at, at most `limit`.
        """
        ...

    async def stuck(self, now: float, limit: int) -> Sequence[Order]:
        """Orders with a step to do whose lease is over."""
        ...
