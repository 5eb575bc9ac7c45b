"""Sends and receives notifications between processes through PostgreSQL: "something was committed, look".

A notification may be lost (a crash right after the commit, a database that restarts), so each listener also
polls slowly; notifications only make the reaction faster. That is why they are sent in batches after the
commit, over a connection of their own, rather than in the transaction: NOTIFY there costs each transaction a
round trip, and makes all notifying commits of the database wait for each other
(https://www.postgresql.org/docs/current/sql-notify.html).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import asyncpg

_log = logging.getLogger(__name__)

#: The most notifications that wait to be sent; more are dropped.
MAX_WAITING = 1000
#: Seconds between two attempts to connect, and between two keepalive queries on an idle connection.
RECONNECT, HEARTBEAT = 0.5, 30.0
_SEND = "SELECT pg_notify(channel, payload) FROM unnest($1::text[], $2::text[]) AS n (channel, payload)"

Connection: TypeAlias = "asyncpg.Connection"
Callback = Callable[[str], None]


class Notifier:
    """Sends and receives the notifications of one process.

    It connects when there is a notification to send or a channel to listen to, and reconnects after a
    failure.

    Args:
        connect: Opens a connection.
        prefix: Prefix of the channel names: all services share the database's channels.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], prefix: str) -> None:
        self._connect, self._prefix = connect, prefix
        self._callbacks: dict[str, list[Callback]] = {}
        self._waiting: dict[tuple[str, str], None] = {}  # a set that keeps its order
        self._changed = asyncio.Event()

    def notify(self, channel: str, payload: str) -> None:
        """Queue a notification. One that is already queued is not queued twice."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting[channel, payload] = None
            self._changed.set()

    @contextmanager
    def listening(self, channel: str, callback: Callback) -> Iterator[None]:
        """Call `callback` with the payload of each notification until the end of the block."""
        self._callbacks.setdefault(channel, []).append(callback)
        self._changed.set()
        try:
            yield
        finally:
            self._callbacks[channel].remove(callback)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send and receive notifications until the end of the block."""
        task = asyncio.create_task(self._run(), name="notifications")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        failing = False
        while True:
            await self._changed.wait()
            try:
                connection = await self._connect()
                if failing:
                    _log.warning("notifications through PostgreSQL work again")
                failing = False
                await self._attached(connection)
            except Exception as e:  # whatever the driver raises, the loop must go on
                if not failing:
                    _log.warning("notifications through PostgreSQL failed, polling instead: %s", e)
                failing = True
            self._changed.set()
            await asyncio.sleep(RECONNECT)

    async def _attached(self, connection: Connection) -> None:
        """Send and receive notifications until the connection is closed."""
        connection.add_termination_listener(lambda _: self._changed.set())
        listening: set[str] = set()
        try:
            while not connection.is_closed():
                self._changed.clear()
                for channel in self._callbacks.keys() - listening:
                    await connection.add_listener(f"{self._prefix}_{channel}", self._received)
                    listening.add(channel)
                await self._send(connection)
                await self._until_changed(connection)
        finally:
            connection.terminate()

    async def _send(self, connection: Connection) -> None:
        if not self._waiting:
            return
        notifications, self._waiting = list(self._waiting), {}
        channels = [f"{self._prefix}_{channel}" for channel, _ in notifications]
        await connection.execute(_SEND, channels, [payload for _, payload in notifications])

    async def _until_changed(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(HEARTBEAT):
                await self._changed.wait()
        except TimeoutError:
            await connection.execute("SELECT 1")  # otherwise a server that vanished would stay unnoticed

    def _received(self, _: object, __: int, channel: str, payload: object) -> None:
        for callback in tuple(self._callbacks.get(channel.removeprefix(f"{self._prefix}_"), ())):
            callback(str(payload))
