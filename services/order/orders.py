"""The use cases: place, read, list, change status, and recover what a dead replica left."""

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

#: Seconds that a call waits for an order that another call or replica is working at.
PATIENCE = 10.0
#: Seconds between two looks at such an order.
GLANCE = 0.1
#: How many stuck orders a replica takes up at once.
RECOVERY_LIMIT = 10
#: Concurrent changes of one order that a call outlasts.
ATTEMPTS = 5
#: Seconds that a refund waits for an order whose steps are under way, before it is to be told again.
REFUND_PATIENCE = 2.0

#: Starts a coroutine as a task with an owner, whose context has no caller's deadline.
Start = Callable[[Coroutine[Any, Any, Order]], "asyncio.Task[Order]"]


class Orders:
    """Orders and their use cases.

    Args:
        store: Where they are recorded.
        saga: Takes them through their steps.
        cashier: Knows what was given back.
        start: Starts a saga in a task of its own.
        now: Unix seconds.
    """

    def __init__(self, store: Store, saga: Saga, cashier: Cashier, start: Start, now: Clock) -> None:
        self._store, self._saga, self._cashier, self._start, self._now = store, saga, cashier, start, now

    async def place(self, order: Order, buyer: Buyer) -> Order:
        """Places an order; once per key.

        Returns:
            The order: CONFIRMED; or still PENDING where the outcome of the charge is not known yet
            (recovery finds it out, StreamOrderUpdates tells).

        Raises:
            MeshError: why it came to nothing; stock and money are given back.
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
        """Raises NotFound, or PermissionDenied where it is somebody else's."""
        actor.require_user()
        order = await self._store.get(order_id)
        actor.require_self_or_admin(order.user_id)
        return order

    async def page(self, actor: Actor, user_id: int, status: Status | None, page: Page) -> Slice[Order]:
        """A page of a user's orders, newest first. User 0: one's own; everybody's for an admin."""
        actor.require_user()
        if user_id == 0 and not actor.is_admin:
            user_id = actor.user_id
        if user_id:
            actor.require_self_or_admin(user_id)
        return await self._store.page(user_id, status, page)

    async def set_status(self, actor: Actor, order_id: int, status: Status) -> Order:
        """Moves an order along its life; the same again changes nothing.

        Raises:
            FailedPrecondition: ILLEGAL_STATUS_CHANGE.
            Unavailable: the undoing is recorded and will be finished.
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
        """Learns from the payment service how much of a payment has been given back in all, in cents.

        Idempotent, and indifferent to the order in which it is told.

        Raises:
            NotFound: there is no such order.
            InvalidArgument: the payment is not the order's.
            Unavailable: the order has steps under way; it is to be told again.
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
        """The order with every refund of its payment, so that nothing ships that has been paid back.

        What the payment service tells by itself may still be on its way.
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
            # That is where the saga is going; nobody but the saga can say that it is there.
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
        """Takes up orders that nobody works at any more; returns how many. Any replica may, at any time."""
        stuck = await self._store.stuck(self._now(), RECOVERY_LIMIT)
        done = await asyncio.gather(*(self._take_up(order, None) for order in stuck), return_exceptions=True)
        # One order that cannot be finished does not hold up the others.
        errors = [result for result in done if isinstance(result, Exception)]
        if errors:
            raise ExceptionGroup("some orders could not be recovered", errors)
        return len(stuck)

    async def tell_untold(self) -> int:
        """Has the catalogue told of orders that a version which tells nobody has shipped; in pieces.

        Returns:
            How many orders it has looked at.
        """
        return await in_pieces(lambda most: self._store.tell_untold(self._now(), most))

    async def _settled(self, order: Order, buyer: Buyer | None, patience: float = PATIENCE) -> Order:
        """The order when its steps are done, or as it is after `patience` seconds."""
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
            # Not done, or done by another: what is recorded is the truth.
            return await self._store.get(order.id)


def _concurrent(order_id: int) -> Aborted:
    return Aborted(f"order {order_id} is being changed by others", "CONCURRENT_CHANGE")
