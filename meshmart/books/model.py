"""The checks of the audit as data: rules, totals, and what is not finished.

Their SQL is in the modules beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

#: Statuses of orders that are valid, and of payments that the acquirer has charged. An UNDONE payment was
#: charged and refunded, because its batch failed or it came too late.
STANDS = "('CONFIRMED', 'SHIPPED', 'DELIVERED')"
CHARGED = "('COMPLETED', 'REFUNDED', 'UNDONE')"


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that must hold for each row of the books.

    Args:
        name: A short name with hyphens, shown when the rule is broken.
        holds: What must hold, for the documentation.
        sql: Selects the rows for which it does not hold, on SQLite and on PostgreSQL. Tables are named with
            their service: `"order".orders`.
        problem: The message about such a row: a format string over its columns.
    """

    name: str
    holds: str
    sql: str
    problem: str


@dataclass(frozen=True, slots=True)
class Open:
    """An operation that is not finished yet, and so neither right nor wrong.

    Args:
        sql, line: Like `sql` and `problem` of a rule.
    """

    sql: str
    line: str


@dataclass(frozen=True, slots=True)
class Total:
    """Two figures from different places that must be equal.

    Args:
        section: The part of the books that they belong to.
        left, right: The name of each figure, and the SQL that returns it.
        cents: Whether they are amounts of money.
    """

    section: str
    left: tuple[str, str]
    right: tuple[str, str]
    cents: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its buyer knows it, by its key."""

    id: int
    key: str | None
    status: str
    created_at: float
    """Unix seconds, by the clock of the replica that created it."""
    total: int = 0
    #: Whether it was ever confirmed.
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of an order's history."""

    order_id: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Books:
    """The orders placed by a scene, a test or a benchmark, and their history."""

    orders: Sequence[Order] = ()
    history: Sequence[Change] = ()
