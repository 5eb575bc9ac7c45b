"""Erases a buyer's personal data from its orders: the orders stay, without the address."""

from dataclasses import asdict

import sqlalchemy as sa

from services.kit.db import Database
from services.order.domain import Address, Status
from services.order.tables import erased, orders

#: The most buyers that one round handles.
_MOST = 100
#: Statuses of orders that still need their address, because they have not been sent.
_NOT_SENT = (Status.PENDING.value, Status.CONFIRMED.value)
_NOWHERE = asdict(Address("", "", "", "", ""))


class Erasure:
    """Erases addresses.

    Args:
        db: The database with the service's tables.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def erase(self, user_id: int) -> None:
        """Erase the address from a buyer's orders. Idempotent.

        Orders that were sent, cancelled or refunded lose it at once, the others as soon as they are.
        """
        insert = self._db.insert(erased).on_conflict_do_nothing()
        await self._db.write(lambda c: c.execute(insert, {"user_id": user_id}))
        await self._take(user_id)

    async def go_on(self) -> None:
        """Continue with the buyers whose orders had not all been sent. Call it now and then."""
        statement = sa.select(erased.c.user_id).order_by(erased.c.user_id).limit(_MOST)
        for user_id in await self._db.read(lambda c: c.scalars(statement).all()):
            await self._take(user_id)

    async def _take(self, user_id: int) -> None:
        await self._db.write(lambda connection: _take(connection, user_id))


def _take(connection: sa.Connection, user_id: int) -> None:
    own = orders.c.user_id == user_id
    sent = orders.c.status.not_in(_NOT_SENT)
    connection.execute(sa.update(orders).where(own, sent).values(address=_NOWHERE))
    if connection.scalar(sa.select(orders.c.id).where(own, ~sent).limit(1)) is None:
        connection.execute(sa.delete(erased).where(erased.c.user_id == user_id))
