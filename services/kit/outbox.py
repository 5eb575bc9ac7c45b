"""The outbox of a service: events written with the change that they tell of, delivered later by a relay.

One table in the service's own schema. A row is deleted when its event has been delivered; until then its
key's later rows wait for it. `services.kit.relay` delivers.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.kit.db import Database
from services.kit.relay import OutboxEvent, Waiting

#: Events of one key that are taken at once.
PER_KEY = 20
MAX_TOPIC, MAX_KEY, MAX_EVENT_ID = 50, 100, 200

table = sa.Table(
    "outbox",
    sa.MetaData(),
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("topic", sa.String(MAX_TOPIC), nullable=False),
    sa.Column("key", sa.String(MAX_KEY), nullable=False),
    sa.Column("event_id", sa.String(MAX_EVENT_ID), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # Of a key's first row: not before then, because it failed or because a replica is at it.
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Index("outbox_due", "topic", "due"),
    sa.Index("outbox_key", "topic", "key", "position"),
    # A late settlement by position must never meet another event.
    sqlite_autoincrement=True,
)


def create(op: Any) -> None:
    """For a migration: `create(alembic.op)` makes the table, in its first version."""
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("topic", sa.String(50), nullable=False),
        sa.Column("key", sa.String(100), nullable=False),
        sa.Column("event_id", sa.String(200), nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_due", "outbox", ["topic", "due"])
    op.create_index("outbox_key", "outbox", ["topic", "key", "position"])


def row(topic: str, key: str, event_id: str, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
    """An event as `add_all` takes it; see `add`."""
    return {
        "topic": topic,
        "key": key,
        "event_id": event_id,
        "payload": payload,
        "created_at": now,
        "due": now,
        "attempts": 0,
    }


async def add(
    session: AsyncConnection, topic: str, key: str, event_id: str, payload: Mapping[str, Any], now: float
) -> None:
    """Writes an event in the caller's transaction; call `Relay.wake` after the commit.

    Events of a key are delivered in the order of their transactions only if these exclude each other: let
    each of them first change the row that the key stands for.

    Args:
        session: The transaction.
        topic: Which receiver.
        key: What it is about.
        event_id: Unique; by it the receiver takes the event once.
        payload: JSON, for the receiver's adapter.
        now: Unix seconds.
    """
    await add_all(session, [row(topic, key, event_id, payload, now)])


async def add_all(session: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Several at once, each as `row` makes it."""
    if rows:
        await session.execute(sa.insert(table), rows)


_earlier = table.alias("earlier")
#: The first rows of keys, those due longest first.
_FIRST = (
    sa.select(table.c.position)
    .where(
        table.c.topic == sa.bindparam("of"),
        table.c.due <= sa.bindparam("now"),
        ~sa.exists().where(
            _earlier.c.topic == table.c.topic,
            _earlier.c.key == table.c.key,
            _earlier.c.position < table.c.position,
        ),
    )
    .order_by(table.c.due)
    .limit(sa.bindparam("most"))
)

_THESE = table.c.position.in_(sa.bindparam("these", expanding=True))
_DUE = (
    sa.select(table.c.position, table.c.key)
    .where(_THESE, table.c.due <= sa.bindparam("now"))
    .with_for_update(skip_locked=True)
)
_LEASE = sa.update(table).where(_THESE).values(due=sa.bindparam("until"))
_DONE = sa.delete(table).where(_THESE)


def _of_keys() -> sa.Select[Any]:
    """The first events of some keys, in their order."""
    columns = [c for c in table.c if c.name != "due"]
    place = sa.func.row_number().over(partition_by=table.c.key, order_by=table.c.position).label("place")
    in_keys = table.c.key.in_(sa.bindparam("keys", expanding=True))
    those = sa.select(*columns, place).where(table.c.topic == sa.bindparam("of"), in_keys).subquery()
    first = sa.select(*(those.c[c.name] for c in columns)).where(those.c.place <= PER_KEY)
    return first.order_by(those.c.position)


_OF_KEYS = _of_keys()


class SqlQueue:
    """`services.kit.relay.Queue` over SQLite or PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def take(self, topic: str, now: float, until: float, limit: int) -> Sequence[Sequence[OutboxEvent]]:
        """See `services.kit.relay.Queue`."""
        async with self._db.session() as session:
            # A look that finds nothing, as most do, takes no lock.
            found = await session.execute(_FIRST, {"of": topic, "now": now, "most": limit})
            positions = list(found.scalars())
        if not positions:
            return []
        async with self._db.transaction() as session:
            keys = await _lease(session, positions, now, until)
            return await _events(session, topic, keys)

    async def settle(
        self, delivered: Sequence[OutboxEvent], failed: Sequence[tuple[OutboxEvent, float]]
    ) -> None:
        """See `services.kit.relay.Queue`."""
        if not delivered and not failed:
            return
        async with self._db.transaction() as session:
            if delivered:
                await session.execute(_DONE, {"these": [event.position for event in delivered]})
            for event, due in failed:
                # The rows behind it too, or each look would find them and pass them over.
                key = (table.c.topic == event.topic, table.c.key == event.key)
                later = {"due": due, "attempts": event.attempts + 1}
                await session.execute(sa.update(table).where(*key).values(later))

    async def waiting(self) -> Mapping[str, Waiting]:
        """See `services.kit.relay.Queue`."""
        oldest = sa.func.min(table.c.created_at)
        statement = sa.select(table.c.topic, sa.func.count(), oldest).group_by(table.c.topic)
        async with self._db.session() as session:
            rows = await session.execute(statement)
            return {topic: Waiting(count, since) for topic, count, since in rows}


async def _lease(session: AsyncConnection, positions: Sequence[int], now: float, until: float) -> list[str]:
    """The keys of those rows that are still due; another replica's relay may have been faster."""
    rows = (await session.execute(_DUE, {"these": positions, "now": now})).all()
    if rows:
        await session.execute(_LEASE, {"these": [row.position for row in rows], "until": until})
    return [row.key for row in rows]


async def _events(session: AsyncConnection, topic: str, keys: Sequence[str]) -> list[list[OutboxEvent]]:
    if not keys:
        return []
    by_key = defaultdict[str, list[OutboxEvent]](list)
    for found in await session.execute(_OF_KEYS, {"of": topic, "keys": keys}):
        by_key[found.key].append(OutboxEvent(**found._mapping))
    return list(by_key.values())
