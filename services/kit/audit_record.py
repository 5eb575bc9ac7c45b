"""Writes the actions of privileged callers into the service's audit log, in the transaction of the action.

A call that is to be logged puts an `AuditRecord` into its context (`services.kit.audit`). `Database.write`
writes the entry in the first transaction of the call, so that neither the action nor its entry is committed
without the other. Entries are only ever added: triggers refuse to change or delete one, whoever tries.
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
#: The outcome of an action that was committed; any other is the name of a status code.
OK = "OK"
#: The most ids that a target lists if an action created several things.
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
class AuditRecord:
    """An action that is to be logged.

    Args:
        at: Unix seconds.
        actor: The user's id; 0 for the operator.
        workload: The service that made the call.
        action: The method's name.
        kind: The kind of thing that is acted on, such as "product".
        target: Its id; empty for the one that the action creates.
        detail: A few words. They must hold neither personal data nor secrets, because entries are kept for
            ever.
        written: Whether the entry has been written.
    """

    at: int
    actor: int
    workload: str
    action: str
    kind: str
    target: str = ""
    detail: str = ""
    written: bool = False

    def row(self, outcome: str, made: object = None) -> dict[str, Any]:
        """Return the row to insert.

        Args:
            outcome: `OK`, or the name of a status code.
            made: What the action created, if anything.
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


_current: ContextVar[AuditRecord | None] = ContextVar("audit_record", default=None)


@contextmanager
def recording(record: AuditRecord | None) -> Iterator[None]:
    """Write the record in the first transaction of the block. None writes nothing."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> AuditRecord | None:
    """Return the record that the next transaction must write, or None if there is none or it is written."""
    record = _current.get()
    return None if record is None or record.written else record


def writing(record: AuditRecord, work: Callable[[sa.Connection], T]) -> Callable[[sa.Connection], T]:
    """Return a transaction that runs `work` and writes the record."""

    def both(connection: sa.Connection) -> T:
        result = work(connection)
        connection.execute(sa.insert(table).values(record.row(OK, result)))
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
