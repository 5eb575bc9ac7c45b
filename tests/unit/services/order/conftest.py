import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from grpcmesh.errors import Aborted, FailedPrecondition, NotFound
from services.kit.db import Database
from services.order.domain import Address, Instrument, Line, Order
from services.order.failures import OutcomeUnknown
from services.order.orders import Orders
from services.order.saga import Saga
from services.order.storage import SqlStore
from services.order.tasks import SagaTasks
from tests.databases import Maker

NOW = 1_767_225_600.0


@dataclass
class Clock:
    """Stands still, unless it is made to run: then whoever waits for others does not wait for ever."""

    now: float = NOW
    runs_since: float | None = None

    def __call__(self) -> float:
        return self.now + (0.0 if self.runs_since is None else time.monotonic() - self.runs_since)

    def run(self) -> None:
        self.runs_since = time.monotonic()


class Crash(BaseException):
    """kill -9: nothing of ours catches it."""


@dataclass
class Trouble:
    """What goes wrong, before or after which step: `{"before charge": Crash()}`."""

    at: dict[str, BaseException] = field(default_factory=dict)
    #: Steps as they were entered.
    seen: list[str] = field(default_factory=list)
    #: Run at that place, such as another replica's doings.
    meanwhile: dict[str, Callable[[], Coroutine[Any, Any, object]]] = field(default_factory=dict)

    async def pass_by(self, place: str) -> None:
        self.seen.append(place)
        if place in self.meanwhile:
            await self.meanwhile.pop(place)()
        if (error := self.at.get(place)) is not None:
            raise error


@asynccontextmanager
async def _around(trouble: Trouble, step: str) -> AsyncIterator[None]:
    await trouble.pass_by(f"before {step}")
    yield
    await trouble.pass_by(f"after {step}")


@dataclass
class Warehouse:
    """The other side of `Catalogue`, which keeps its promises: idempotent under a key, and fenced."""

    trouble: Trouble
    prices: dict[int, int]
    stock: dict[int, int]
    held: dict[str, list[Line]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)

    async def reserve(self, key: str, lines: Sequence[Line]) -> tuple[Line, ...]:
        async with _around(self.trouble, "reserve"):
            self._reserve(key, lines)
        return tuple(
            Line(line.product_id, line.quantity, f"product {line.product_id}", self.prices[line.product_id])
            for line in lines
        )

    def _reserve(self, key: str, lines: Sequence[Line]) -> None:
        if key in self.closed:
            raise FailedPrecondition("released", "RESERVATION_CLOSED")
        if key in self.held:
            return
        for line in lines:
            if line.product_id not in self.stock:
                raise NotFound("Product", str(line.product_id))
            if self.stock[line.product_id] < line.quantity:
                raise FailedPrecondition("out of stock", "OUT_OF_STOCK", product_id=str(line.product_id))
        for line in lines:
            self.stock[line.product_id] -= line.quantity
        self.held[key] = list(lines)

    async def release(self, key: str) -> None:
        async with _around(self.trouble, "release"):
            self.closed.add(key)
            for line in self.held.pop(key, []):
                self.stock[line.product_id] += line.quantity


@dataclass
class Bank:
    """The other side of `Cashier`, which keeps its promises too."""

    trouble: Trouble
    charged: dict[str, int] = field(default_factory=dict)
    #: By key: what was given back.
    repaid: dict[str, int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    charges: int = 0
    declines: bool = False

    async def charge(self, order: Order, instrument: Instrument | None) -> int:
        async with _around(self.trouble, "charge"):
            return self._charge(order, instrument)

    def _charge(self, order: Order, instrument: Instrument | None) -> int:
        key = order.saga_key
        if self.declines or key in self.closed:
            raise FailedPrecondition("declined", "PAYMENT_DECLINED")
        if key not in self.charged and key not in self.repaid:
            if not order.on_file and instrument is None:
                raise Aborted("nothing was paid", "NO_SUCH_PAYMENT")
            self.charged[key] = order.total
            self.charges += 1
        return 1000 + order.id

    async def void(self, order: Order) -> int:
        async with _around(self.trouble, "void"):
            key = order.saga_key
            self.closed.add(key)
            self.repaid[key] = self.repaid.get(key, 0) + self.charged.pop(key, 0)
        return self.repaid[key]

    async def refunded(self, order: Order) -> int:
        async with _around(self.trouble, "look"):
            return self.repaid.get(order.saga_key, 0)

    def refund(self, order: Order, cents: int) -> int:
        """An admin gives back a part of what was charged, or all of it; what has been given back since."""
        key = order.saga_key
        self.charged[key] -= cents
        if not self.charged[key]:
            del self.charged[key]
        self.repaid[key] = self.repaid.get(key, 0) + cents
        return self.repaid[key]


@dataclass
class Shop:
    """An order service without its wire, with one database, and as many replicas as a test wants."""

    db: Database
    clock: Clock
    store: SqlStore
    trouble: Trouble
    warehouse: Warehouse
    bank: Bank
    tasks: SagaTasks

    def replica(self) -> Orders:
        saga = Saga(self.store, self.warehouse, self.bank, self.clock)
        return Orders(self.store, saga, self.bank, self.tasks.start, self.clock)

    def draft(
        self, *lines: Line, key: str | None = None, user_id: int = 2, on_file: bool = True, **more: Any
    ) -> Order:
        now, lines = self.clock(), lines or (Line(1, 2), Line(2, 1))
        return Order(0, user_id, lines, Address(), key, on_file, now, now, now, **more)

    async def recovered(self) -> None:
        """Another replica's recovery, until there is nothing left to do."""
        for _ in range(20):
            self.clock.now += 7
            await self.replica().recover()
        assert await self.store.stuck(self.clock.now + 1000, 10) == []

    @property
    def untouched(self) -> bool:
        return self.warehouse.stock == {1: 10, 2: 10, 3: 10} and not self.bank.charged


@pytest.fixture
async def shop(new_databases: Maker) -> AsyncIterator[Shop]:
    url = new_databases("order").url("order")
    async with Database.open(url, "order") as db, SagaTasks() as tasks:
        trouble = Trouble()
        warehouse = Warehouse(trouble, {1: 250, 2: 1999, 3: 0}, {1: 10, 2: 10, 3: 10})
        yield Shop(db, Clock(), SqlStore(db), trouble, warehouse, Bank(trouble), tasks)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Waits for a condition, boundedly."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def unknown(text: str = "lost") -> OutcomeUnknown:
    return OutcomeUnknown(text)
