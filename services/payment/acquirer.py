"""A simulated acquirer with books of its own, idempotent under a reference, as real ones are.

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

import sqlalchemy as sa

from grpcmesh.clock import Clock
from services.kit.db import Database
from services.payment.domain import BankAccount, Card, Instrument, Outcome
from services.payment.tables import ledger

_DECLINED_CARDS = {
    "4000000000000002": "card declined",
    "4000000000009995": "insufficient funds",
    "4000000000000069": "expired card",
    "4000000000000127": "incorrect CVV",
}
_DECLINED_ACCOUNTS = {"000111111116": "account closed"}
_DECLINED_WALLETS = {"declined": "wallet declined"}


def decline(instrument: Instrument) -> str | None:
    """Why the acquirer declines an instrument, or None."""
    match instrument.details:
        case Card(number=number):
            return _DECLINED_CARDS.get(number)
        case BankAccount(account_number=number):
            return _DECLINED_ACCOUNTS.get(number)
        case wallet:
            return _DECLINED_WALLETS.get(wallet.wallet_id)


class SimulatedAcquirer:
    """`services.payment.ports.Acquirer` over a table.

    Args:
        db: Where its ledger is.
        now: Unix seconds.
    """

    def __init__(self, db: Database, now: Clock) -> None:
        self._db, self._now = db, now

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        """Charges once per reference; asked again, answers again."""
        reason = decline(instrument)
        if reason is not None:
            return await self._once(reference, "charge", amount, Outcome(False, "", reason))
        return await self._once(reference, "charge", amount, Outcome(True, _transaction(), "approved"))

    async def inquire(self, reference: str) -> Outcome:
        """What became of a charge; one that is not in the books is entered as refused, and stays so."""
        return await self._once(reference, "charge", 0, Outcome(False, "", "the charge was not made"))

    async def refund(self, reference: str, transaction_id: str, amount: int) -> None:
        """Gives money back once per reference."""
        await self._once(reference, "refund", amount, Outcome(True, transaction_id, "refunded"))

    async def _once(self, reference: str, kind: str, amount: int, outcome: Outcome) -> Outcome:
        """Enters the outcome unless the reference is in the books; returns what is in the books."""
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
        if await self._db.write(lambda connection: connection.execute(insert, values).rowcount):
            return outcome
        entry = await self._entry(reference)
        assert entry is not None  # the books are never shortened
        return entry

    async def _entry(self, reference: str) -> Outcome | None:
        statement = sa.select(ledger).where(ledger.c.reference == reference)
        row = await self._db.read(lambda connection: connection.execute(statement).first())
        return None if row is None else Outcome(row.approved, row.transaction_id, row.message)


def _transaction() -> str:
    return f"txn_{uuid.uuid4().hex}"
