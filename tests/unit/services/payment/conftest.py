from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

import pytest

from services.kit.db import Database
from services.payment.acquirer import SEARCH_LAG, SimulatedAcquirer
from services.payment.batches import Batches
from services.payment.domain import Instrument, Outcome
from services.payment.payments import Payments
from services.payment.ports import Acquirer
from services.payment.recovery import ABANDONED_AFTER
from services.payment.storage import SqlStore
from tests.databases import Maker

#: 2026-01-01
NOW = 1_767_225_600.0


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


class Crash(BaseException):
    """kill -9: nothing of ours catches it."""


@dataclass
class CrashingAcquirer:
    """The real one, but the process dies before or after it has done its work."""

    acquirer: Acquirer
    crash: str = ""

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        if self.crash == "before charge":
            raise Crash
        outcome = await self.acquirer.charge(reference, amount, instrument)
        if self.crash == "after charge":
            raise Crash
        return outcome

    @property
    def search_lag(self) -> float:
        return self.acquirer.search_lag

    async def search(self, reference: str) -> Outcome | None:
        return await self.acquirer.search(reference)

    async def refunds(self, transaction_id: str) -> Collection[str]:
        return await self.acquirer.refunds(transaction_id)

    async def refund(self, reference: str, transaction_id: str, amount: int) -> None:
        if self.crash == "before refund":
            raise Crash
        await self.acquirer.refund(reference, transaction_id, amount)
        if self.crash == "after refund":
            raise Crash


#: Seconds after which a charge that cannot be found is given up.
GIVEN_UP_AFTER = ABANDONED_AFTER + SEARCH_LAG + 1


@dataclass
class Shop:
    """A payment service without its wire: what two replicas share is the database."""

    db: Database
    clock: Clock
    store: SqlStore
    acquirer: CrashingAcquirer
    payments: Payments
    batches: Batches


@pytest.fixture
async def shop(new_databases: Maker) -> AsyncIterator[Shop]:
    url = new_databases("payment").url("payment")
    async with Database.open(url, "payment") as db:
        clock = Clock()
        acquirer = CrashingAcquirer(SimulatedAcquirer(db, clock))
        store = SqlStore(db)
        payments, batches = Payments(store, acquirer, clock), Batches(store, acquirer, clock)
        yield Shop(db, clock, store, acquirer, payments, batches)
