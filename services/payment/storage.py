"""Payments and refunds in SQL: every rule that a race could break is a condition of the statement."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from services.kit import outbox
from services.kit.db import Database
from services.kit.keyset import read_page
from services.kit.paging import Page, Slice
from services.kit.retention import in_pieces
from services.kit.unique import insert_or_find
from services.payment.domain import Outcome, Payment, Refund, Status, payment_not_found
from services.payment.news import refund_news
from services.payment.rows import columns_of, outcome_columns, payment_of, refund_of, status_of
from services.payment.tables import UNSETTLED, feed, payments, refunds

#: What is told of, from commit to streams: see `services.kit.following`.
CHANNEL = "payments"


class SqlStore:
    """`services.payment.ports.Store` over SQLite or PostgreSQL.

    Args:
        db: With the service's tables.
        told: Called after the commit of something that orders are to be told of; see `services.kit.relay`.
    """

    def __init__(self, db: Database, told: Callable[[], None] = lambda: None) -> None:
        self._db, self._told = db, told

    async def begin(self, payment: Payment) -> Payment:
        """Records it, unless its key is taken: returns what is recorded under the key."""
        # No look before: nearly every key is new, and the constraint knows best.
        insert = self._db.insert(payments).on_conflict_do_nothing(index_elements=["key"])
        statement, values = insert.returning(payments), columns_of(payment)

        async def begin() -> Payment | None:
            row = await self._db.write(lambda connection: connection.execute(statement, values).first())
            return None if row is None else payment_of(row)

        recorded, _ = await insert_or_find(begin, lambda: self.find(payment.key))
        return recorded

    async def get(self, payment_id: int) -> Payment:
        """Raises NotFound."""
        return await self._db.read(lambda connection: _get(connection, payment_id))

    async def find(self, key: str | None) -> Payment | None:
        """What is recorded under a key."""
        if key is None:
            return None
        statement = sa.select(payments).where(payments.c.key == key)
        row = await self._db.read(lambda connection: connection.execute(statement).first())
        return None if row is None else payment_of(row)

    async def begin_all(self, batch: Sequence[Payment]) -> Sequence[Payment] | None:
        """Records the payments of a batch; None where a key of theirs is taken."""
        statement = sa.insert(payments).returning(payments, sort_by_parameter_order=True)
        values = [columns_of(payment) for payment in batch]
        try:
            rows = await self._db.write(lambda connection: connection.execute(statement, values).all())
        except IntegrityError:
            return None
        return [payment_of(row) for row in rows]

    async def of_batch(self, batch: str) -> Sequence[Payment]:
        """The payments of a batch, in its order."""
        statement = sa.select(payments).where(payments.c.batch == batch)
        return await self._payments(statement.order_by(payments.c.id))

    async def finish(self, payment_id: int, outcome: Outcome, now: float) -> Payment:
        """Records the acquirer's answer, unless one is recorded; returns what is."""

        def finish(connection: sa.Connection) -> Payment:
            values = outcome_columns(status_of(outcome, undone=False), outcome, now)
            self._db.notify(connection, CHANNEL)
            return _finish(connection, payment_id, values)

        with contextlib.suppress(_Recorded):
            return await self._db.write(finish)
        return await self.get(payment_id)

    async def finish_all(
        self, batch: Sequence[Payment], outcomes: Sequence[Outcome], undo: Sequence[Refund], now: float
    ) -> bool:
        """Records the acquirer's answers to a batch; see `services.payment.ports.Store`."""
        undone = {refund.payment_id: refund.amount for refund in undo}

        def finish(connection: sa.Connection) -> None:
            for payment, outcome in zip(batch, outcomes, strict=True):
                values = outcome_columns(status_of(outcome, undone=payment.id in undone), outcome, now)
                values |= {"refunded": undone.get(payment.id, 0)}
                _finish(connection, payment.id, values)
            for refund in undo:
                _add_refund(connection, refund)
            self._db.notify(connection, CHANNEL)

        with contextlib.suppress(_Recorded):
            await self._db.write(finish)
            self._told()
            return True
        return False

    async def number(self) -> int:
        """Gives a cursor to what was settled since the last time; how many payments that were.

        Settlements do not wait for each other to have one: whoever follows them numbers those that are
        committed, several at once. Numbering itself is done by one at a time, so that no reader sees a cursor
        before a smaller one.
        """

        def number(connection: sa.Connection, most: int) -> int:
            base = connection.execute(_LOCK_FEED).scalar_one()
            count = connection.execute(_NUMBER, {"base": base, "most": most}).rowcount
            connection.execute(sa.update(feed).values(cursor=base + count))
            return count

        # A look that finds nothing, as most do, takes no lock.
        if await self._db.read(lambda connection: connection.scalar(_UNNUMBERED.limit(1))) is None:
            return 0
        return await in_pieces(lambda most: self._db.write(lambda connection: number(connection, most)))

    async def open_refund(self, refund: Refund) -> Refund:
        """Sets the amount aside; see `services.payment.ports.Store`."""
        if (found := await self._find_refund(refund.key)) is not None:
            return found

        def open_(connection: sa.Connection) -> None:
            _set_aside(connection, refund)
            _add_refund(connection, refund)

        async def insert() -> Refund | None:
            with contextlib.suppress(IntegrityError):  # the key is taken
                await self._db.write(open_)
                self._told()
                return refund
            return None

        opened, _ = await insert_or_find(insert, lambda: self._find_refund(refund.key))
        return opened

    async def _find_refund(self, key: str | None) -> Refund | None:
        if key is None:
            return None
        statement = sa.select(refunds).where(refunds.c.key == key)
        row = await self._db.read(lambda connection: connection.execute(statement).first())
        return None if row is None else refund_of(row)

    async def settle_refund(self, refund_id: str) -> None:
        """Notes that the acquirer has it."""
        statement = sa.update(refunds).where(refunds.c.id == refund_id).values(settled=True)
        await self._db.write(lambda connection: connection.execute(statement))

    async def history(self, user_id: int, page: Page) -> Slice[Payment]:
        """A user's payments, newest first. A fence is not a payment."""
        own = (payments.c.user_id == user_id, payments.c.status != Status.VOIDED.value)
        statement = sa.select(payments).where(*own)
        rows = await self._db.read(
            lambda connection: read_page(connection, statement, payments.c.id, page, newest_first=True)
        )
        return rows.map(payment_of)

    async def unfinished(self, before: float, limit: int) -> Sequence[Payment]:
        """Payments in PROCESSING since before that time, those of batches left out."""
        statement = (
            sa.select(payments)
            .where(
                payments.c.status == Status.PROCESSING.value,
                payments.c.created_at < before,
                payments.c.batch.is_(None),
            )
            .limit(limit)
        )
        return await self._payments(statement)

    async def unfinished_batches(self, before: float, limit: int) -> Sequence[str]:
        """Batches in PROCESSING since before that time."""
        statement = (
            sa.select(payments.c.batch)
            .distinct()
            .where(
                payments.c.status == Status.PROCESSING.value,
                payments.c.created_at < before,
                payments.c.batch.is_not(None),
            )
            .limit(limit)
        )
        return [row.batch for row in await self._rows(statement)]

    async def settled(self, after: int, limit: int) -> Sequence[Payment]:
        """What was settled after a cursor, oldest first."""
        await self.number()
        statement = sa.select(payments).where(payments.c.cursor > after)
        return await self._payments(statement.order_by(payments.c.cursor).limit(limit))

    async def last_cursor(self) -> int:
        """Of the payment that was settled last."""
        await self.number()
        (row,) = await self._rows(sa.select(feed.c.cursor))
        return int(row.cursor)

    async def unsettled(self, before: float, limit: int) -> Sequence[Refund]:
        """Refunds that the acquirer may not have, opened before that time."""
        statement = sa.select(refunds).where(UNSETTLED, refunds.c.created_at < before).limit(limit)
        return [refund_of(row) for row in await self._rows(statement)]

    async def watched(self, now: float, limit: int) -> Sequence[Payment]:
        """Payments that were given up and are due to be looked for again."""
        due = sa.select(payments).where(payments.c.look_at <= now)
        return await self._payments(due.order_by(payments.c.look_at).limit(limit))

    async def watch(self, payment_id: int, look_at: float | None) -> None:
        """Sets when a payment that was given up is looked for again; None: never."""
        statement = sa.update(payments).where(payments.c.id == payment_id).values(look_at=look_at)
        await self._db.write(lambda connection: connection.execute(statement))

    async def undo(self, payment_id: int, outcome: Outcome, refund: Refund) -> bool:
        """Records a charge that turned up after it had been given up; see `services.payment.ports.Store`."""
        given_up = (payments.c.id == payment_id, payments.c.status == Status.FAILED.value)
        statement = sa.update(payments).where(*given_up, payments.c.transaction_id == "")
        values: dict[str, Any] = {"status": Status.UNDONE.value, "refunded": refund.amount, "look_at": None}
        values |= {"transaction_id": outcome.transaction_id, "message": outcome.message}

        def undo(connection: sa.Connection) -> bool:
            if connection.execute(statement, values).rowcount == 0:
                return False
            _add_refund(connection, refund)
            return True

        undone = await self._db.write(undo)
        self._told()
        return undone

    async def tell_untold(self, now: float, limit: int) -> int:
        """Has orders told of refunds that a version before this one told nobody of; how many these were."""

        def tell(connection: sa.Connection) -> int:
            some = connection.scalars(_UNTOLD, {"most": limit}).all()
            told = sa.update(refunds).where(refunds.c.id.in_(some), refunds.c.told.is_(None))
            rows = connection.execute(
                told.values(told=True).returning(refunds.c.id, refunds.c.payment_id)
            ).all()
            for row in rows:
                outbox.add_all(connection, refund_news(_get(connection, row.payment_id), row.id, now))
            return len(rows)

        count = await self._db.write(tell)
        if count:
            self._told()
        return count

    async def _payments(self, statement: sa.Select[Any]) -> list[Payment]:
        return [payment_of(row) for row in await self._rows(statement)]

    async def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return await self._db.read(lambda connection: connection.execute(statement).all())


class _Recorded(Exception):  # noqa: N818 - no error, and never seen outside
    """There is an outcome already: the transaction is taken back."""


# A constant: SQLAlchemy takes longer to put it together than SQLite to execute it.
_FINISH = (
    sa.update(payments)
    .where(payments.c.id == sa.bindparam("of_id"), payments.c.status == Status.PROCESSING.value)
    .returning(payments)
)


def _finish(connection: sa.Connection, payment_id: int, values: dict[str, Any]) -> Payment:
    """Raises _Recorded."""
    row = connection.execute(_FINISH, values | {"of_id": payment_id}).first()
    if row is None:
        raise _Recorded
    return payment_of(row)


def _set_aside(connection: sa.Connection, refund: Refund) -> None:
    # The condition is the rule: of two refunds at once, the second sees the first.
    after = payments.c.refunded + refund.amount
    statement = (
        sa.update(payments)
        .where(
            payments.c.id == refund.payment_id,
            payments.c.status == Status.COMPLETED.value,
            after <= payments.c.amount,
        )
        .values(
            refunded=after,
            status=sa.case((after == payments.c.amount, Status.REFUNDED.value), else_=Status.COMPLETED.value),
        )
    )
    if connection.execute(statement).rowcount == 0:
        raise _get(connection, refund.payment_id).refuse_refund(refund.amount)


_LOCK_FEED = sa.update(feed).values(cursor=feed.c.cursor).returning(feed.c.cursor)
_UNNUMBERED = (
    sa.select(payments.c.id)
    .where(payments.c.to_number.is_not(None))
    .order_by(payments.c.to_number, payments.c.id)
)


def _numbering() -> sa.Update:
    """Numbers up to `:most` payments, from `:base` + 1 on."""
    place = sa.func.row_number().over(order_by=(payments.c.to_number, payments.c.id)).label("place")
    first = _UNNUMBERED.add_columns(place).limit(sa.bindparam("most")).subquery()
    numbered = sa.update(payments).where(payments.c.id == first.c.id)
    return numbered.values(cursor=sa.bindparam("base", type_=sa.BigInteger) + first.c.place, to_number=None)


_NUMBER = _numbering()
_UNTOLD = sa.select(refunds.c.id).where(refunds.c.told.is_(None)).limit(sa.bindparam("most"))


def _add_refund(connection: sa.Connection, refund: Refund) -> None:
    """Records a refund whose amount the payment's row has, and has its order told of it."""
    connection.execute(sa.insert(refunds), asdict(refund) | {"told": True})
    payment = _get(connection, refund.payment_id)  # its row is locked: what is told grows with the rows
    outbox.add_all(connection, refund_news(payment, refund.id, refund.created_at))


def _get(connection: sa.Connection, payment_id: int) -> Payment:
    row = connection.execute(sa.select(payments).where(payments.c.id == payment_id)).first()
    if row is None:
        raise payment_not_found(payment_id)
    return payment_of(row)
