"""Places and undoes an order, one recorded step at a time.

A step is recorded before it is done, and is done with the order's own key at the other service. So any
replica may repeat a step at any time, and it happens once. The undoing steps close the key there: forward
steps that are still in flight then find it closed. That is why a cancellation need not know how far the order
had come, and why the outcome of a lost call is never guessed.
"""

from collections.abc import Awaitable, Callable

from grpcmesh.clock import Clock
from grpcmesh.errors import MeshError, Unavailable
from services.order.domain import Buyer, Order, Status, Step
from services.order.failures import OutcomeUnknown
from services.order.ports import Cashier, Catalogue, Store

#: Seconds after an order's creation at which recovery stops trying to finish it, and cancels it.
GIVE_UP_AFTER = 60.0


class Saga:
    """Runs the steps of orders.

    Args:
        store: Records each step.
        catalogue: Holds the stock.
        cashier: Holds the money.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, store: Store, catalogue: Catalogue, cashier: Cashier, now: Clock) -> None:
        self._store, self._catalogue, self._cashier, self._now = store, catalogue, cashier, now
        # A new step is a line here and its function.
        self._steps: dict[Step, Callable[[Order, Buyer | None], Awaitable[Order]]] = {
            Step.RESERVE: self._reserve,
            Step.CHARGE: self._charge,
            Step.CANCEL: self._cancel,
            Step.REFUND: self._refund,
        }

    async def run(self, order: Order, buyer: Buyer | None = None) -> Order:
        """Run the steps that are left.

        Args:
            order: The order as last recorded, leased by the caller.
            buyer: The buyer who waits for it. If None, nobody waits, and an unavailable service is tried
                again later.

        Raises:
            Superseded: another replica took the order over.
            OutcomeUnknown, MeshError: a step is still to be done; recovery will do it when the lease has
                ended.
        """
        while order.step is not Step.DONE:
            order = await self._steps[order.step](order, buyer)
        return order

    async def _reserve(self, order: Order, buyer: Buyer | None) -> Order:
        if self._late(order):
            return await self._give_up(order, Unavailable("the order could not be placed in time"))
        try:
            lines = await self._catalogue.reserve(order.saga_key, order.lines)
        except OutcomeUnknown:
            # Nothing is paid yet, and cancelling closes the key, so the outcome does not matter.
            return await self._give_up(order, Unavailable("the stock could not be reserved in time"))
        except MeshError as e:
            return await self._refused(order, e, buyer)
        priced = order.priced(lines)
        message = "confirmed" if priced.step is Step.DONE else "stock is reserved"
        return await self._save(priced, message, prices=True)

    async def _charge(self, order: Order, buyer: Buyer | None) -> Order:
        if self._late(order):
            return await self._give_up(order, Unavailable("the payment could not be made in time"))
        try:
            payment_id = await self._cashier.charge(order, buyer.instrument if buyer else None)
        except MeshError as e:
            return await self._refused(order, e, buyer)
        return await self._save(order.confirmed(payment_id), "paid and confirmed")

    def _late(self, order: Order) -> bool:
        # Nobody waits for it any more, and its buyer may have placed another order.
        return self._now() - order.created_at > GIVE_UP_AFTER

    async def _refused(self, order: Order, error: MeshError, buyer: Buyer | None) -> Order:
        if buyer is None and isinstance(error, Unavailable):
            raise error
        return await self._give_up(order, error)

    async def _give_up(self, order: Order, error: MeshError) -> Order:
        return await self._save(order.cancelling(error), "being cancelled")

    async def _cancel(self, order: Order, _: Buyer | None) -> Order:
        await self._catalogue.release(order.saga_key)
        reason = order.failure.error().message if order.failure else "as asked for"
        return await self._undone(order, f"cancelled: {reason}"[:200])

    async def _refund(self, order: Order, _: Buyer | None) -> Order:
        if order.status is Status.CONFIRMED:  # shipped goods do not come back by themselves
            await self._catalogue.release(order.saga_key)
        return await self._undone(order, "refunded")

    async def _undone(self, order: Order, message: str) -> Order:
        # There is no total before the stock is reserved, and no charge before there is a total.
        refunded = await self._cashier.void(order) if order.total else 0
        undone = order.undone(refunded)
        repaid = undone.refunded - order.refunded
        return await self._store.save(undone.renewed(self._now()), message, repaid=repaid)

    async def _save(self, order: Order, message: str, *, prices: bool = False) -> Order:
        return await self._store.save(order.renewed(self._now()), message, prices=prices)
