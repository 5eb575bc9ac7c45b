"""What the audit checks, as data: rules, sums, and what is not finished. SQL is in the modules beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Statuses of orders that stand, and of payments that the acquirer has charged. UNDONE: and paid back, as its
#: batch failed or it came too late.
STANDS = "('CONFIRMED', 'SHIPPED', 'DELIVERED')"
CHARGED = "('COMPLETED', 'REFUNDED', 'UNDONE')"


@dataclass(frozen=True, slots=True)
class Rule:
    """Something that has to hold for each row of the books.

    Args:
        name: Short, with hyphens; it is named where the rule is broken.
        holds: What has to hold, for the documentation.
        sql: Selects the rows for which it does not hold, on SQLite as on PostgreSQL. Tables are named with
            their service: `"order".orders`.
        problem: What is told of such a row; a format string over its columns.
    """

    name: str
    holds: str
    sql: str
    problem: str


@dataclass(frozen=True, slots=True)
class Open:
    """Something that is not finished yet, and so neither right nor wrong.

    Args:
        sql, line: As `sql` and `problem` of a rule.
    """

    sql: str
    line: str


@dataclass(frozen=True, slots=True)
class Total:
    """Two figures that come from different places and have to be the same.

    Args:
        left, right: What they are called, and the SQL of one number.
        cents: Whether they are money.
    """

    section: str
    left: tuple[str, str]
    right: tuple[str, str]
    cents: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """An order as a buyer knows it by its key."""

    id: int
    key: str | None
    status: str
    created_at: float
    """Unix seconds, by the clock of the replica that took it."""
    total: int = 0
    #: Whether it ever was.
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of an order's history."""

    order_id: int
    cursor: int


@dataclass(frozen=True, slots=True)
class Books:
    """The orders that a scene, a test or a bench has placed, and their history."""

    orders: Sequence[Order] = ()
    history: Sequence[Change] = ()
