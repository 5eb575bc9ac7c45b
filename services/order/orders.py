"""The use cases: place, read and list orders, change their status, and recover those of a dead replica."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from grpcmesh.clock import Clock
from grpcmesh.errors import Aborted, MeshError, PermissionDenied, Unavailable
from services.kit.actor import Actor
from services.kit.money import from_cents
from services.kit.paging import Page, Slice
from services.kit.retention import in_pieces
from services.order.domain import Buyer, Order, Status, Step
from services.order.failures import OutcomeUnknown, Superseded
from services.order.ports import Cashier, Store
from services.order.saga import Saga

#: Seconds that a call waits for an order that another call or replica is working on.
PATIENCE = 10.0
#: Poll interval of such an order, in seconds.
GLANCE = 0.1
#: The most stuck orders that a replica recovers at once.
RECOVERY_LIMIT = 10
#: Attempts of a call to change an order while others change it.
ATTEMPTS = 5
#: Seconds that RecordRefund waits for an order with steps in flight, before its caller must try again.
REFUND_PATIENCE = 2.0

#: Starts a coroutine as a task that has an owner and that does not inherit the call's deadline.
Start = Callable[[Coroutine[Any, Any, Order]], "asyncio.Task[Order]"]


class Orders:
    """The use cases of orders.

    Args:
        store: Records orders.
        saga: Runs the steps of an order.
        cashier: Knows what was refunded.
        start: Starts a saga in a task of its own.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, store: Store, saga: Saga, cashier: Cashier, start: Start, now: Clock) -> None:
        self._store, self._saga, self._cashier, self._start, self._now = store, saga, cashier, start, now

    async def place(self, order: Order, buyer: Buyer) -> Order:
        """Place an order, once per key.

        Returns:
            The order, CONFIRMED. Or still PENDING if the outcome of the charge is not known yet: recovery
                finds it out,
            and StreamOrderUpdates reports it.

        Raises:
            MeshError: why the order failed; its stock and money are given back.
        """
        recorded, created = await self._store.create(order.renewed(self._now()))
        if created:
            recorded = await self._drive(recorded, buyer)
        else:
            recorded.require_same(order)
            recorded = await self._settled(recorded, buyer)
        if recorded.failure is not None:
            raise recorded.failure.error()
        return recorded

    async def get(self, actor: Actor, order_id: int) -> Order:
        """Return an order. Raises Unauthenticated, NotFound, or PermissionDenied if it is another user's."""
        actor.require_user()
        order = await self._store.get(order_id)
        actor.require_self_or_admin(order.user_id)
        return order

    async def page(self, actor: Actor, user_id: int, status: Status | None, page: Page) -> Slice[Order]:
        """Return a page of a user's orders, the newest first.

        User 0 means the actor, or all users if the actor is an admin. Raises Unauthenticated or
        PermissionDenied.
        """
        actor.require_user()
        if user_id == 0 and not actor.is_admin:
            user_id = actor.user_id
        if user_id:
            actor.require_self_or_admin(user_id)
        return await self._store.page(user_id, status, page)

    async def set_status(self, actor: Actor, order_id: int, status: Status) -> Order:
        """Change the status of an order. Idempotent: repeating the call has no effect.

        Raises:
            NotFound: there is no such order.
            PermissionDenied: the order is another user's, or a buyer asks for anything but a cancellation.
            FailedPrecondition: ILLEGAL_STATUS_CHANGE.
            Unavailable: the undoing is recorded and will be finished.
            Aborted: CONCURRENT_CHANGE, others keep changing the order.
        """
        for _ in range(ATTEMPTS):
            order = await self.get(actor, order_id)
            if not actor.is_admin and status is not Status.CANCELLED:
                raise PermissionDenied("a buyer may only cancel", "ROLE_REQUIRED", role="admin")
            try:
                if status is Status.SHIPPED:
                    order = await self._refunds_known(order)
                return await self._change(order, status)
            except Superseded:
                continue
        raise _concurrent(order_id)

    async def record_refund(self, order_id: int, payment_id: int, refunded: int) -> None:
        """Record how much of an order's payment has been refunded in all, in cents.

        Idempotent, and independent of the order in which reports arrive.

        Raises:
            NotFound: there is no such order.
            InvalidArgument: the payment is not the order's.
            Unavailable: the order has steps in flight; the caller must report it again.
            Aborted: CONCURRENT_CHANGE, others keep changing the order.
        """
        for _ in range(ATTEMPTS):
            order = await self._settled(await self._store.get(order_id), None, REFUND_PATIENCE)
            if order.step is not Step.DONE:
                raise Unavailable(f"order {order_id} is being worked at", REFUND_PATIENCE)
            order.require_payment(payment_id)
            try:
                await self._repaid(order, refunded)
                return
            except Superseded:
                continue
        raise _concurrent(order_id)

    async def _refunds_known(self, order: Order) -> Order:
        """Return the order with every refund of its payment, so that nothing ships that was paid back.

        The payment service's own report may still be on its way.
        """
        if order.status is not Status.CONFIRMED or order.step is not Step.DONE or not order.total:
            return order
        try:
            refunded = await self._cashier.refunded(order)
        except OutcomeUnknown as e:
            raise Unavailable("it cannot be seen at present whether the order is paid for") from e
        return await self._repaid(order, refunded)

    async def _repaid(self, order: Order, refunded: int) -> Order:
        learned = order.repaid(refunded)
        if learned is None:
            return order
        if learned.step is Step.REFUND:
            return await self._undo(learned, Status.REFUNDED)
        message = f"{from_cents(refunded):.2f} of {from_cents(order.total):.2f} given back"
        repaid = refunded - order.refunded
        return await self._store.save(learned.renewed(self._now()), message, repaid=repaid, arrived=False)

    async def _change(self, order: Order, status: Status) -> Order:
        waiting_for = {Step.CANCEL: Status.CANCELLED, Step.REFUND: Status.REFUNDED}
        confirming = order.status is Status.PENDING and status is Status.CONFIRMED
        if confirming or waiting_for.get(order.step) is status:
            # The saga is on its way to this status, and only the saga knows when it is reached.
            order = await self._settled(order, None)
        if order.status is status:
            return order
        if confirming or waiting_for.get(order.step) is status:
            raise Unavailable(f"order {order.id} is not {status.value} yet; it is being worked at")
        order.require_transition(status)
        if status is Status.CANCELLED:
            return await self._undo(order.cancelling(), status)
        if status is Status.REFUNDED:
            return await self._undo(order.refunding(), status)
        return await self._store.save(order.moved(status).renewed(self._now()), status.value.lower())

    async def _undo(self, order: Order, status: Status) -> Order:
        order = await self._store.save(order.renewed(self._now()), "being undone")
        order = await self._drive(order, None)
        if order.status is not status:
            raise Unavailable(f"order {order.id} will be {status.value}: it is recorded, and being worked at")
        return order

    async def recover(self) -> int:
        """Take over the orders that no replica works on any more.

        Return how many. Any replica may do it at any time.
        """
        stuck = await self._store.stuck(self._now(), RECOVERY_LIMIT)
        done = await asyncio.gather(*(self._take_up(order, None) for order in stuck), return_exceptions=True)
        # An order that cannot be finished must not block the others.
        errors = [result for result in done if isinstance(result, Exception)]
        if errors:
            raise ExceptionGroup("some orders could not be recovered", errors)
        return len(stuck)

    async def backfill_events(self) -> int:
        """Add the outbox events of orders that an older version shipped without one.

        Returns:
            How many orders it has checked.
        """
        return await in_pieces(lambda most: self._store.backfill_events(self._now(), most))

    async def _settled(self, order: Order, buyer: Buyer | None, patience: float = PATIENCE) -> Order:
        """Return the order once its steps are done, or as it is after `patience` seconds."""
        give_up = self._now() + patience
        while order.step is not Step.DONE and order.failure is None and self._now() < give_up:
            if order.lease_until <= self._now():
                order = await self._shielded(self._take_up(order, buyer))
            else:
                await asyncio.sleep(GLANCE)
                order = await self._store.get(order.id)
        return order

    async def _take_up(self, order: Order, buyer: Buyer | None) -> Order:
        try:
            order = await self._store.save(order.leased(self._now()))
        except Superseded:
            return await self._store.get(order.id)
        return await self._finish(order, buyer)

    async def _drive(self, order: Order, buyer: Buyer | None) -> Order:
        return await self._shielded(self._finish(order, buyer))

    async def _shielded(self, work: Coroutine[Any, Any, Order]) -> Order:
        # A saga belongs to its order, not to the call that began it: a caller that hangs up, or whose
        # deadline ends, does not stop it half-way. If the process dies, recovery goes on elsewhere.
        task: Awaitable[Order] = self._start(work)
        return await asyncio.shield(task)

    async def _finish(self, order: Order, buyer: Buyer | None) -> Order:
        try:
            return await self._saga.run(order, buyer)
        except (Superseded, OutcomeUnknown, MeshError):
            # Not done, or done by another: the recorded order counts.
            return await self._store.get(order.id)


def _concurrent(order_id: int) -> Aborted:
    return Aborted(f"order {order_id} is being changed by others", "CONCURRENT_CHANGE")
