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
from services.payment.outbox_events import refund_events
from services.payment.rows import columns_of, outcome_columns, payment_of, refund_of, status_of
from services.payment.tables import UNSETTLED, feed, payments, refunds

#: The channel on which commits wake streams: see `services.kit.following`.
CHANNEL = "payments"


class SqlStore:
    """The `services.payment.ports.Store` in SQLite or PostgreSQL.

    Args:
        db: The database with the service's tables.
        on_events: Called after a commit with outbox events; see `services.kit.relay`.
    """

    def __init__(self, db: Database, on_events: Callable[[], None] = lambda: None) -> None:
        self._db, self._on_events = db, on_events

    async def begin(self, payment: Payment) -> Payment:
        """Record a payment unless its key is taken. Return what is recorded with the key."""
        # Insert without reading first: nearly every key is new, and the constraint detects the others.
        insert = self._db.insert(payments).on_conflict_do_nothing(index_elements=["key"])
        statement, values = insert.returning(payments), columns_of(payment)

        async def begin() -> Payment | None:
            row = await self._db.write(lambda connection: connection.execute(statement, values).first())
            return None if row is None else payment_of(row)

        recorded, _ = await insert_or_find(begin, lambda: self.find(payment.key))
        return recorded

    async def get(self, payment_id: int) -> Payment:
        """Return a payment. Raises NotFound."""
        return await self._db.read(lambda connection: _get(connection, payment_id))

    async def find(self, key: str | None) -> Payment | None:
        """Return the payment that is recorded with a key, or None."""
        if key is None:
            return None
        statement = sa.select(payments).where(payments.c.key == key)
        row = await self._db.read(lambda connection: connection.execute(statement).first())
        return None if row is None else payment_of(row)

    async def begin_all(self, batch: Sequence[Payment]) -> Sequence[Payment] | None:
        """Record the payments of a batch. Return None if a key of theirs is taken."""
        statement = sa.insert(payments).returning(payments, sort_by_parameter_order=True)
        values = [columns_of(payment) for payment in batch]
        try:
            rows = await self._db.write(lambda connection: connection.execute(statement, values).all())
        except IntegrityError:
            return None
        return [payment_of(row) for row in rows]

    async def of_batch(self, batch: str) -> Sequence[Payment]:
        """Return the payments of a batch, in its order."""
        statement = sa.select(payments).where(payments.c.batch == batch)
        return await self._payments(statement.order_by(payments.c.id))

    async def finish(self, payment_id: int, outcome: Outcome, now: float) -> Payment:
        """Record the acquirer's answer, unless one is recorded. Return the recorded payment."""

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
        """Record the acquirer's answers to a batch; see `services.payment.ports.Store`."""
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
            self._on_events()
            return True
        return False

    async def number(self) -> int:
        """Number the payments that were settled since the last call. Return how many.

        Settling a payment does not number it, so settlements do not wait for each other: whoever follows
        payments numbers those that are committed, several at once. One caller at a time numbers, so that no
        reader sees a cursor before a smaller one.
        """

        def number(connection: sa.Connection, most: int) -> int:
            base = connection.execute(_LOCK_FEED).scalar_one()
            count = connection.execute(_NUMBER, {"base": base, "most": most}).rowcount
            connection.execute(sa.update(feed).values(cursor=base + count))
            return count

        # Most queries find nothing; they take no lock.
        if await self._db.read(lambda connection: connection.scalar(_UNNUMBERED.limit(1))) is None:
            return 0
        return await in_pieces(lambda most: self._db.write(lambda connection: number(connection, most)))

    async def open_refund(self, refund: Refund) -> Refund:
        """Set the amount aside; see `services.payment.ports.Store`."""
        if (found := await self._find_refund(refund.key)) is not None:
            return found

        def open_(connection: sa.Connection) -> None:
            _set_aside(connection, refund)
            _add_refund(connection, refund)

        async def insert() -> Refund | None:
            with contextlib.suppress(IntegrityError):  # the key is taken
                await self._db.write(open_)
                self._on_events()
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
        """Record that the acquirer has the refund."""
        statement = sa.update(refunds).where(refunds.c.id == refund_id).values(settled=True)
        await self._db.write(lambda connection: connection.execute(statement))

    async def history(self, user_id: int, page: Page) -> Slice[Payment]:
        """Return a page of a user's payments, the newest first, without those that only closed a key
        (VOIDED).
        """
        own = (payments.c.user_id == user_id, payments.c.status != Status.VOIDED.value)
        statement = sa.select(payments).where(*own)
        rows = await self._db.read(
            lambda connection: read_page(connection, statement, payments.c.id, page, newest_first=True)
        )
        return rows.map(payment_of)

    async def unfinished(self, before: float, limit: int) -> Sequence[Payment]:
        """Return payments in PROCESSING since before that time, except those of batches."""
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
        """Return batches in PROCESSING since before that time."""
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
        """Return the payments settled after a cursor, the oldest first."""
        await self.number()
        statement = sa.select(payments).where(payments.c.cursor > after)
        return await self._payments(statement.order_by(payments.c.cursor).limit(limit))

    async def last_cursor(self) -> int:
        """Return the cursor of the payment that was settled last."""
        await self.number()
        (row,) = await self._rows(sa.select(feed.c.cursor))
        return int(row.cursor)

    async def unsettled(self, before: float, limit: int) -> Sequence[Refund]:
        """Return refunds that were opened before that time and that the acquirer may not have."""
        statement = sa.select(refunds).where(UNSETTLED, refunds.c.created_at < before).limit(limit)
        return [refund_of(row) for row in await self._rows(statement)]

    async def watched(self, now: float, limit: int) -> Sequence[Payment]:
        """Return payments that were given up and are due for another search."""
        due = sa.select(payments).where(payments.c.look_at <= now)
        return await self._payments(due.order_by(payments.c.look_at).limit(limit))

    async def watch(self, payment_id: int, look_at: float | None) -> None:
        """Set the Unix time at which a payment that was given up is searched for again; None means never."""
        statement = sa.update(payments).where(payments.c.id == payment_id).values(look_at=look_at)
        await self._db.write(lambda connection: connection.execute(statement))

    async def undo(self, payment_id: int, outcome: Outcome, refund: Refund) -> bool:
        """Record a charge that turned up after it had been given up; see `services.payment.ports.Store`."""
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
        self._on_events()
        return undone

    async def backfill_events(self, now: float, limit: int) -> int:
        """Add the outbox events of refunds that an older version made without one. Return how many."""

        def backfill(connection: sa.Connection) -> int:
            some = connection.scalars(_WITHOUT_EVENT, {"most": limit}).all()
            mark = sa.update(refunds).where(refunds.c.id.in_(some), refunds.c.told.is_(None))
            rows = connection.execute(
                mark.values(told=True).returning(refunds.c.id, refunds.c.payment_id)
            ).all()
            for row in rows:
                outbox.add_all(connection, refund_events(_get(connection, row.payment_id), row.id, now))
            return len(rows)

        count = await self._db.write(backfill)
        if count:
            self._on_events()
        return count

    async def _payments(self, statement: sa.Select[Any]) -> list[Payment]:
        return [payment_of(row) for row in await self._rows(statement)]

    async def _rows(self, statement: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        return await self._db.read(lambda connection: connection.execute(statement).all())


class _Recorded(Exception):  # noqa: N818 - no error, and never seen outside
    """An outcome is recorded already. Raised to roll the transaction back."""


# A constant: SQLAlchemy takes longer to build it than SQLite to execute it.
_FINISH = (
    sa.update(payments)
    .where(payments.c.id == sa.bindparam("of_id"), payments.c.status == Status.PROCESSING.value)
    .returning(payments)
)


def _finish(connection: sa.Connection, payment_id: int, values: dict[str, Any]) -> Payment:
    """Record the outcome of a payment in PROCESSING. Raises _Recorded if it has one."""
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
    """Return the statement that numbers up to `:most` payments, from `:base` + 1 on."""
    place = sa.func.row_number().over(order_by=(payments.c.to_number, payments.c.id)).label("place")
    first = _UNNUMBERED.add_columns(place).limit(sa.bindparam("most")).subquery()
    numbered = sa.update(payments).where(payments.c.id == first.c.id)
    return numbered.values(cursor=sa.bindparam("base", type_=sa.BigInteger) + first.c.place, to_number=None)


_NUMBER = _numbering()
_WITHOUT_EVENT = sa.select(refunds.c.id).where(refunds.c.told.is_(None)).limit(sa.bindparam("most"))


def _add_refund(connection: sa.Connection, refund: Refund) -> None:
    """Record a refund whose amount is already in the payment's row, and tell its order."""
    connection.execute(sa.insert(refunds), asdict(refund) | {"told": True})
    payment = _get(connection, refund.payment_id)  # its row is locked: events are in the order of the amounts
    outbox.add_all(connection, refund_events(payment, refund.id, refund.created_at))


def _get(connection: sa.Connection, payment_id: int) -> Payment:
    row = connection.execute(sa.select(payments).where(payments.c.id == payment_id)).first()
    if row is None:
        raise payment_not_found(payment_id)
    return payment_of(row)
