"""The outbox of a service: events written in the transaction that they report, and delivered later by a
relay.

It is one table in the service's own schema. A row is deleted when its event has been delivered; until then
later rows of the same key wait. An event that its receiver refuses for good stays as a dead letter with the
reason, and blocks nothing. `services.kit.relay` delivers.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.kit.db import Database
from services.kit.online import create_index
from services.kit.relay import OutboxEvent, Outcome, Waiting

#: The most events of one key that are taken at once.
PER_KEY = 20
MAX_TOPIC, MAX_KEY, MAX_EVENT_ID = 50, 100, 200
#: The most characters that are kept of the reason why an event was refused for good.
MAX_REFUSED = 500

table = sa.Table(
    "outbox",
    sa.MetaData(),
    sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("topic", sa.String(MAX_TOPIC), nullable=False),
    sa.Column("key", sa.String(MAX_KEY), nullable=False),
    sa.Column("event_id", sa.String(MAX_EVENT_ID), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # When a key's first row is next delivered: later than now if it failed or if a replica has leased it.
    sa.Column("due", sa.Double, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Why the event is a dead letter; NULL if it is still to be delivered.
    sa.Column("refused", sa.String(MAX_REFUSED)),
    sa.Index("outbox_due", "topic", "due"),
    sa.Index("outbox_key", "topic", "key", "position"),
    # Partial: see `index_counts`. Saying it here would load PostgreSQL's dialect, megabytes, on SQLite too.
    sa.Index("outbox_alive", "topic", "position"),
    sa.Index("outbox_dead", "topic"),
    # A late settlement by position must never meet another event.
    sqlite_autoincrement=True,
)


def create(op: Any) -> None:
    """Create the first version of the table. For a migration: `create(alembic.op)`."""
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


def add_refused(op: Any) -> None:
    """Bring the table from its first version to its second. For a migration: `add_refused(alembic.op)`."""
    op.add_column("outbox", sa.Column("refused", sa.String(500)))


def index_counts(op: Any) -> None:
    """Create the indexes of the third version, which serve to count undelivered events.

    For a migration of its own, see `services.kit.online`: `index_counts(alembic.op)`.
    """
    create_index(op, "outbox_alive", "outbox", ["topic", "position"], where="refused IS NULL")
    create_index(op, "outbox_dead", "outbox", ["topic"], where="refused IS NOT NULL")


def row(topic: str, key: str, event_id: str, payload: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return an event in the form that `add_all` takes; see `add` for the arguments."""
    return {
        "topic": topic,
        "key": key,
        "event_id": event_id,
        "payload": payload,
        "created_at": now,
        "due": now,
        "attempts": 0,
    }


def add(
    connection: sa.Connection, topic: str, key: str, event_id: str, payload: Mapping[str, Any], now: float
) -> None:
    """Write an event in the caller's transaction; call `Relay.wake` after the commit.

    Events of a key are delivered in the order of their transactions only if these transactions exclude each
    other: each must first change the row that the key stands for.

    Args:
        connection: The connection of the transaction.
        topic: Names the receiver.
        key: What the event is about.
        event_id: Unique. The receiver uses it to accept the event only once.
        payload: JSON, for the receiver's adapter.
        now: Unix seconds.
    """
    add_all(connection, [row(topic, key, event_id, payload, now)])


def add_all(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write several events at once, each as `row` returns it."""
    if rows:
        connection.execute(sa.insert(table), rows)


_earlier = table.alias("earlier")
_ALIVE = table.c.refused.is_(None)
#: The first row of each key, the longest overdue first.
_FIRST = (
    sa.select(table.c.position)
    .where(
        table.c.topic == sa.bindparam("of"),
        table.c.due <= sa.bindparam("now"),
        _ALIVE,
        ~sa.exists().where(
            _earlier.c.topic == table.c.topic,
            _earlier.c.key == table.c.key,
            _earlier.c.position < table.c.position,
            _earlier.c.refused.is_(None),
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
_DEAD = (
    sa.update(table)
    .where(table.c.position == sa.bindparam("this"))
    .values(refused=sa.bindparam("why"), due=sa.bindparam("never"))
)
#: The due time of a dead letter, which no query for due events reaches.
_NEVER = 1e18
_DEAD_LETTERS: sa.Select[Any] = (
    sa.select(table.c.topic, table.c.key, table.c.event_id, table.c.created_at, table.c.refused)
    .where(~_ALIVE)
    # Sorted after the look into their index: in the order of the table, SQLite would read all of it.
    .order_by(table.c.position + 0)
)
#: Undelivered events are counted up to this number, so that counting has a bounded cost.
MAX_COUNTED = 10_000


def _at_most(alive: bool) -> sa.ScalarSelect[Any]:
    """Return a query that counts a topic's undelivered events, or its dead letters, up to `MAX_COUNTED`."""
    those = sa.select(sa.literal(1).label("one")).where(
        table.c.topic == sa.bindparam("of"), _ALIVE if alive else ~_ALIVE
    )
    return sa.select(sa.func.count()).select_from(those.limit(MAX_COUNTED).subquery()).scalar_subquery()


_OLDEST = (
    sa.select(table.c.created_at)
    .where(table.c.topic == sa.bindparam("of"), _ALIVE)
    .order_by(table.c.position)
    .limit(1)
    .scalar_subquery()
)
_WAITING = sa.select(_at_most(alive=True), _OLDEST, _at_most(alive=False))


def _of_keys() -> sa.Select[Any]:
    """Return a query for the first events of some keys, in their order."""
    columns = [c for c in table.c if c.name not in ("due", "refused")]
    place = sa.func.row_number().over(partition_by=table.c.key, order_by=table.c.position).label("place")
    in_keys = table.c.key.in_(sa.bindparam("keys", expanding=True))
    wanted = (table.c.topic == sa.bindparam("of"), in_keys, _ALIVE)
    those = sa.select(*columns, place).where(*wanted).subquery()
    first = sa.select(*(those.c[c.name] for c in columns)).where(those.c.place <= PER_KEY)
    return first.order_by(those.c.position)


_OF_KEYS = _of_keys()


class SqlQueue:
    """A `services.kit.relay.Queue` in SQLite or PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def take(self, topic: str, now: float, until: float, limit: int) -> Sequence[Sequence[OutboxEvent]]:
        """Implement `services.kit.relay.Queue.take`."""
        # Most queries find nothing; they take no lock.
        first = {"of": topic, "now": now, "most": limit}
        positions = await self._db.read(lambda connection: connection.scalars(_FIRST, first).all())
        if not positions:
            return []

        def take(connection: sa.Connection) -> list[list[OutboxEvent]]:
            return _events(connection, topic, _lease(connection, positions, now, until))

        return await self._db.write(take)

    async def settle(self, outcome: Outcome) -> None:
        """Implement `services.kit.relay.Queue.settle`."""
        await self._db.write(lambda connection: _settle(connection, outcome))

    async def waiting(self, topics: Collection[str]) -> Mapping[str, Waiting]:
        """Implement `services.kit.relay.Queue.waiting`."""

        def count(connection: sa.Connection) -> dict[str, Waiting]:
            counted = ((topic, connection.execute(_WAITING, {"of": topic}).one()) for topic in topics)
            return {topic: Waiting(alive, since or 0.0, dead) for topic, (alive, since, dead) in counted}

        return await self._db.read(count)


async def present(db: Database) -> bool:
    """Return whether a service has an outbox."""
    return await db.read(lambda connection: sa.inspect(connection).has_table(table.name))


async def dead_letters(db: Database) -> Sequence[sa.Row[Any]]:
    """Return a service's dead letters, the oldest first.

    A row has `topic`, `key`, `event_id`, `created_at` and, in `refused`, the reason.
    """
    return await db.read(lambda connection: connection.execute(_DEAD_LETTERS).all())


async def put_back(db: Database, now: float) -> int:
    """Mark all dead letters for delivery again, because their receiver accepts them now.

    Return how many there were.
    """
    again = sa.update(table).where(~_ALIVE).values(refused=None, due=now, attempts=0)
    return await db.write(lambda connection: connection.execute(again).rowcount)


def _settle(connection: sa.Connection, outcome: Outcome) -> None:
    if outcome.delivered:
        connection.execute(_DONE, {"these": [event.position for event in outcome.delivered]})
    for event, why in outcome.dead:
        values = {"this": event.position, "why": why[:MAX_REFUSED], "never": _NEVER}
        connection.execute(_DEAD, values)
    for event, due in outcome.failed:
        # The later rows of the key too, otherwise each query would find them and skip them.
        key = (table.c.topic == event.topic, table.c.key == event.key, _ALIVE)
        later = {"due": due, "attempts": event.attempts + 1}
        connection.execute(sa.update(table).where(*key).values(later))


def _lease(connection: sa.Connection, positions: Sequence[int], now: float, until: float) -> list[str]:
    """Lease the rows that are still due and return their keys; another replica's relay may have been
    faster.
    """
    rows = connection.execute(_DUE, {"these": positions, "now": now}).all()
    if rows:
        connection.execute(_LEASE, {"these": [row.position for row in rows], "until": until})
    return [row.key for row in rows]


def _events(connection: sa.Connection, topic: str, keys: Sequence[str]) -> list[list[OutboxEvent]]:
    if not keys:
        return []
    by_key = defaultdict[str, list[OutboxEvent]](list)
    for found in connection.execute(_OF_KEYS, {"of": topic, "keys": keys}):
        by_key[found.key].append(OutboxEvent(**found._mapping))
    return list(by_key.values())
