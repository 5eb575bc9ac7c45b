"""A simulated acquirer with its own books, which offers what real ones do: see docs/processor.md.

It declines by documented test data and approves everything else:

| instrument | answer |
|---|---|
| card 4000000000000002 | card declined |
| card 4000000000009995 | insufficient funds |
| card 4000000000000069 | expired card |
| card 4000000000000127 | incorrect CVV |
| account 000111111116 | account closed |
| wallet id `declined` | wallet declined |
"""

import uuid
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from grpcmesh.clock import Clock
from services.kit.db import Database
from services.kit.unique import insert_or_find
from services.payment.domain import BankAccount, Card, Instrument, Outcome
from services.payment.tables import ledger

#: Seconds before a charge can be found by its reference.
SEARCH_LAG = 1.0
_DECLINED_CARDS = {
    "4000000000000002": "card declined",
    "4000000000009995": "insufficient funds",
    "4000000000000069": "expired card",
    "4000000000000127": "incorrect CVV",
}
_DECLINED_ACCOUNTS = {"000111111116": "account closed"}
_DECLINED_WALLETS = {"declined": "wallet declined"}


def decline(instrument: Instrument) -> str | None:
    """Return why the acquirer declines an instrument, or None."""
    match instrument.details:
        case Card(number=number):
            return _DECLINED_CARDS.get(number)
        case BankAccount(account_number=number):
            return _DECLINED_ACCOUNTS.get(number)
        case wallet:
            return _DECLINED_WALLETS.get(wallet.wallet_id)


class SimulatedAcquirer:
    """The `services.payment.ports.Acquirer` over a table.

    Args:
        db: The database with the acquirer's ledger.
        now: Returns the time in Unix seconds.
        search_lag: Seconds before a search finds a charge: a real acquirer's index lags, too.
    """

    def __init__(self, db: Database, now: Clock, search_lag: float = SEARCH_LAG) -> None:
        self._db, self._now, self.search_lag = db, now, search_lag

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        """Charge once per reference. A repeated call returns the same outcome."""
        reason = decline(instrument)
        if reason is not None:
            return await self._once(reference, "charge", amount, Outcome(False, "", reason))
        return await self._once(reference, "charge", amount, Outcome(True, _transaction(), "approved"))

    async def search(self, reference: str) -> Outcome | None:
        """Return the charge with that reference, once it is old enough to be found."""
        entry = await self._entry(reference)
        if entry is None or entry.created_at > self._now() - self.search_lag:
            return None
        return _outcome(entry)

    async def refund(self, reference: str, transaction_id: str, amount: int) -> None:
        """Refund money, once per reference."""
        await self._once(reference, "refund", amount, Outcome(True, transaction_id, "refunded"))

    async def refunds(self, transaction_id: str) -> Collection[str]:
        """Return the references of a charge's refunds."""
        of_charge = (ledger.c.transaction_id == transaction_id, ledger.c.kind == "refund")
        statement = sa.select(ledger.c.reference).where(*of_charge)
        return await self._db.read(lambda connection: connection.scalars(statement).all())

    async def _once(self, reference: str, kind: str, amount: int, outcome: Outcome) -> Outcome:
        """Record the outcome unless the reference is in the books. Return what is in the books."""
        values = {
            "reference": reference,
            "kind": kind,
            "amount": amount,
            "approved": outcome.approved,
            "transaction_id": outcome.transaction_id,
            "message": outcome.message,
            "created_at": self._now(),
        }
        insert = self._db.insert(ledger).on_conflict_do_nothing(index_elements=["reference"])

        async def enter() -> Outcome | None:
            entered = await self._db.write(lambda connection: connection.execute(insert, values).rowcount)
            return outcome if entered else None

        async def find() -> Outcome | None:
            entry = await self._entry(reference)
            return None if entry is None else _outcome(entry)

        return (await insert_or_find(enter, find))[0]

    async def _entry(self, reference: str) -> sa.Row[Any] | None:
        statement = sa.select(ledger).where(ledger.c.reference == reference)
        return await self._db.read(lambda connection: connection.execute(statement).first())


def _outcome(entry: sa.Row[Any]) -> Outcome:
    return Outcome(entry.approved, entry.transaction_id, entry.message)


def _transaction() -> str:
    return f"txn_{uuid.uuid4().hex}"
