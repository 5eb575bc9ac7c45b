"""Counts a service's database transactions: how they ended, how long they waited, and how long they took.

Everything runs on the event loop, except that a transaction's thread notes when the transaction began.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal, TypeVar

from prometheus_client import Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from grpcmesh.errors import Unavailable

#: Upper bounds of the buckets in seconds, up to where a transaction gives up waiting and is ended.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Kind = Literal["read", "write"]
KINDS: tuple[Kind, ...] = ("read", "write")
#: How a transaction ends: it is committed; a constraint forbids it; the service's own code gives it up, such
#: as an order for more than the stock; no connection, lock or server is to be had in time; its caller is
#: cancelled; or the database fails it for another reason.
OUTCOMES = ("ok", "conflict", "rolled_back", "unavailable", "cancelled", "failed")

T = TypeVar("T")
Work = Callable[[Connection], T]


class _Transaction:
    """One transaction, from its request to its end."""

    def __init__(self) -> None:
        self.asked = time.perf_counter()
        self.begun = 0.0
        """When the transaction got its connection (on SQLite, a write also its lock); 0 before that."""

    def noting(self, work: Work[T]) -> Work[T]:
        """Return `work`, which first notes that it has begun."""

        def begun(connection: Connection) -> T:
            self.begun = time.perf_counter()
            return work(connection)

        return begun


class DatabaseMetrics:
    """The metrics of one process's use of its database.

    Args:
        capacity: The most connections of each kind of transaction. On PostgreSQL both kinds share one pool.
    """

    def __init__(self, capacity: Mapping[Kind, int]) -> None:
        self._capacity = capacity
        self._running: dict[Kind, set[_Transaction]] = {kind: set() for kind in KINDS}
        self._ended = Counter(dict.fromkeys(((kind, outcome) for kind in KINDS for outcome in OUTCOMES), 0))
        self._expired = 0
        seconds = _histogram("shop_database_seconds", "Seconds of transactions, waiting included.")
        waited = _histogram("shop_database_wait_seconds", "Seconds until a transaction could begin.")
        self._histograms = (seconds, waited)
        #: Looked up once; so they are exposed with zeros from the start, too.
        self._seconds = {kind: seconds.labels(kind) for kind in KINDS}
        self._waited = {kind: waited.labels(kind) for kind in KINDS}

    @asynccontextmanager
    async def transaction(self, kind: Kind) -> AsyncIterator[_Transaction]:
        """Count a transaction, which lasts as long as the block."""
        this = _Transaction()
        self._running[kind].add(this)
        outcome = "ok"
        try:
            yield this
        except BaseException as e:
            outcome = _outcome(e)
            raise
        finally:
            self._running[kind].discard(this)
            self._ended[kind, outcome] += 1
            ended = time.perf_counter()
            self._seconds[kind].observe(ended - this.asked)
            self._waited[kind].observe((this.begun or ended) - this.asked)

    def expired(self, rows: int) -> None:
        """Count rows that were deleted at the end of their retention."""
        self._expired += rows

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        ended = CounterMetricFamily(
            "shop_database_transactions", "Transactions that ended, by outcome.", labels=["kind", "outcome"]
        )
        for (kind, outcome), count in self._ended.items():
            ended.add_metric([kind, outcome], count)
        expired = CounterMetricFamily(
            "shop_database_expired_rows", "Rows deleted at the end of their retention.", value=self._expired
        )
        yield from (ended, expired, *self._gauges())
        for histogram in self._histograms:
            yield from histogram.collect()

    def _gauges(self) -> Iterator[Metric]:
        most = GaugeMetricFamily(
            "shop_database_connections", "The most connections that transactions may use.", labels=["kind"]
        )
        used = GaugeMetricFamily(
            "shop_database_in_use", "Transactions that have a connection now.", labels=["kind"]
        )
        waiting = GaugeMetricFamily(
            "shop_database_waiting", "Transactions that wait for a connection or a lock.", labels=["kind"]
        )
        for kind in KINDS:
            begun = sum(1 for each in self._running[kind] if each.begun)
            most.add_metric([kind], self._capacity[kind])
            used.add_metric([kind], begun)
            waiting.add_metric([kind], len(self._running[kind]) - begun)
        yield from (most, used, waiting)


def _histogram(name: str, text: str) -> Histogram:
    return Histogram(name, text, ["kind"], registry=None, buckets=BUCKETS)


def _outcome(error: BaseException) -> str:
    match error:
        case asyncio.CancelledError():
            return "cancelled"
        case Unavailable():
            return "unavailable"
        case IntegrityError():
            return "conflict"
        case SQLAlchemyError():
            return "failed"
    return "rolled_back"
