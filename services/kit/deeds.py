"""Writes what privileged callers do into the service's audit log, in the transaction that does it.

A call that is to be logged puts a `Deed` into its context (`services.kit.audit`). `Database.write` writes the
entry in the first transaction of the call, so that neither the act nor its entry is committed without the
other. Entries are only ever added: triggers refuse to change or delete one, whoever tries.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")

#: The most characters that are kept of a target and of a detail.
MAX_TARGET, MAX_DETAIL = 200, 500
#: The outcome of an act that was committed; any other is the name of a status code.
OK = "OK"
#: The most ids that a target lists if an act created several things.
_MAX_IDS = 20

_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
table = sa.Table(
    "audit_log",
    sa.MetaData(),
    sa.Column("id", _id, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.Integer, nullable=False),
    sa.Column("workload", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(slots=True)
class Deed:
    """An act that is to be logged.

    Args:
        at: Unix seconds.
        actor: The user's id; 0 for the operator.
        workload: The service that made the call.
        action: The method's name.
        kind: The kind of thing that is acted on, such as "product".
        target: Its id; empty for the one that the act creates.
        detail: A few words. They must hold neither personal data nor secrets, because entries are kept for
            ever.
        noted: Whether the entry has been written.
    """

    at: int
    actor: int
    workload: str
    action: str
    kind: str
    target: str = ""
    detail: str = ""
    noted: bool = False

    def entry(self, outcome: str, made: object = None) -> dict[str, Any]:
        """Return the row to insert.

        Args:
            outcome: `OK`, or the name of a status code.
            made: What the act created, if anything.
        """
        return {
            "at": self.at,
            "actor": self.actor,
            "workload": self.workload,
            "action": self.action,
            "target": _printable(f"{self.kind} {self.target or _ids(made)}".rstrip(), MAX_TARGET),
            "detail": _printable(self.detail, MAX_DETAIL),
            "outcome": outcome,
        }


_current: ContextVar[Deed | None] = ContextVar("deed", default=None)


@contextmanager
def doing(deed: Deed | None) -> Iterator[None]:
    """Log the deed in the first transaction of the block. None logs nothing."""
    token = _current.set(deed)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Deed | None:
    """Return the deed that the next transaction must log, or None if there is none or it is already
    logged.
    """
    deed = _current.get()
    return None if deed is None or deed.noted else deed


def noting(deed: Deed, work: Callable[[sa.Connection], T]) -> Callable[[sa.Connection], T]:
    """Return a transaction that runs `work` and logs the deed."""

    def both(connection: sa.Connection) -> T:
        result = work(connection)
        connection.execute(sa.insert(table).values(deed.entry(OK, result)))
        return result

    return both


def create(op: Any) -> None:
    """Create the table and the triggers that protect its entries. For a migration: `create(alembic.op)`."""
    op.create_table(
        "audit_log",
        sa.Column("id", _id, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Integer, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("workload", "action", "target", "detail", "outcome")
        ),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_log_no_{change.lower()} BEFORE {change} ON audit_log "
                "BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_log_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_log_only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_log_only_grows()"
    )


def _printable(text: str, most: int) -> str:
    """Return at most `most` characters, without those that a database or a terminal cannot take.

    A request that was refused may hold anything.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])


def _ids(made: object) -> str:
    # A row is a sequence, and has an id of its own.
    several = made if isinstance(made, Sequence) and not hasattr(made, "id") else [made]
    ids = [str(found) for one in several if (found := getattr(one, "id", None)) is not None]
    more = [f"and {len(ids) - _MAX_IDS} more"] if len(ids) > _MAX_IDS else []
    return ", ".join(ids[:_MAX_IDS] + more)
