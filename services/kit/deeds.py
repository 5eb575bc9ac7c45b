"""What those do who may do more than others, written into the service's audit log with the act itself.

A call that is to be logged puts a `Deed` into its context (`services.kit.audit`). `Database.write` writes the
entry in the first transaction of the call, so that neither an act nor its entry is committed without the
other. The table only grows: triggers refuse to change or to delete an entry, whoever asks.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")

#: Characters that are kept of a target and of a detail.
MAX_TARGET, MAX_DETAIL = 200, 500
#: The outcome of an act that was committed; any other is the name of a status code.
OK = "OK"
#: Ids that a target names, of several that an act made.
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
    """An act, as it is to be logged.

    Args:
        at: Unix seconds.
        actor: The user; 0: the operator.
        workload: Which service carried the call.
        action: The method's name.
        kind: What is acted on, such as "product".
        target: Its id; "": the one that the act makes.
        detail: In a few words; neither personal data nor secrets, as it stays for ever.
        noted: Whether it is in the log.
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
        """The row.

        Args:
            outcome: `OK`, or the name of a status code.
            made: What the act made, if it made something.
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
    """Has the first transaction of the block log the deed; None: nothing is logged."""
    token = _current.set(deed)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Deed | None:
    """The deed that the next transaction is to log; None if there is none, or it is logged already."""
    deed = _current.get()
    return None if deed is None or deed.noted else deed


def noting(deed: Deed, work: Callable[[sa.Connection], T]) -> Callable[[sa.Connection], T]:
    """A transaction that does `work` and logs the deed."""

    def both(connection: sa.Connection) -> T:
        result = work(connection)
        connection.execute(sa.insert(table).values(deed.entry(OK, result)))
        return result

    return both


def create(op: Any) -> None:
    """For a migration: `create(alembic.op)` makes the table, and what keeps its entries as they are."""
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
    """What the database takes, and a terminal. Of a request that was refused, anything may be in it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])


def _ids(made: object) -> str:
    # A row is a sequence, and has an id of its own.
    several = made if isinstance(made, Sequence) and not hasattr(made, "id") else [made]
    ids = [str(found) for one in several if (found := getattr(one, "id", None)) is not None]
    more = [f"and {len(ids) - _MAX_IDS} more"] if len(ids) > _MAX_IDS else []
    return ", ".join(ids[:_MAX_IDS] + more)
