"""Forgetting who a buyer was: its orders stay, without the address."""

from dataclasses import asdict

import sqlalchemy as sa

from services.kit.db import Database
from services.order.domain import Address, Status
from services.order.tables import erased, orders

#: Buyers that one round looks at.
_MOST = 100
#: Orders that need their address: somebody is still to send them.
_NOT_SENT = (Status.PENDING.value, Status.CONFIRMED.value)
_NOWHERE = asdict(Address("", "", "", "", ""))


class Erasure:
    """Args:
    db: With the service's tables.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def erase(self, user_id: int) -> None:
        """Take the address from a buyer's orders: at once where they were sent, cancelled or refunded, from
        the others as soon as they are. Idempotent."""
        insert = self._db.insert(erased).on_conflict_do_nothing()
        await self._db.write(lambda c: c.execute(insert, {"user_id": user_id}))
        await self._take(user_id)

    async def go_on(self) -> None:
        """Look again at the orders of buyers whose orders were not all sent; to be called now and then."""
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
