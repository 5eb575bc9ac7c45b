"""The audit: checks the data of each service against that of the others.

One rule is one statement over all services' tables, which the database executes; its violations are read row
by row. So the audit needs no more memory for a million orders than for ten. All statements see one snapshot,
see `meshmart.books.read`. Operations in flight are neither right nor wrong yet: they are left out, and
listed.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from meshmart.books import money, notifications, orders, stock
from meshmart.books.model import Total
from meshmart.books.verdict import Sum, Verdict

#: The number of rows fetched at once.
_BATCH = 500
#: The rules of a shop without notifications, and those that come with them.
_RULES, _NOTIFIED = (*orders.RULES, *money.RULES, *stock.RULES), notifications.RULES
_OPEN = (*orders.OPEN, *money.OPEN, *stock.OPEN)
_TOTALS = (*orders.TOTALS, *money.TOTALS, *stock.TOTALS)
#: Every rule, by its name.
RULES = {rule.name: rule for rule in (*_RULES, *_NOTIFIED)}


def audit(connection: sa.Connection, *, notified: bool = True) -> Verdict:
    """Check every rule, and return the verdict.

    Args:
        connection: A connection to all services' tables, in one snapshot.
        notified: Whether the shop has notifications.
    """
    verdict = Verdict(orders={row["status"]: row["number"] for row in _rows(connection, orders.BY_STATUS)})
    for rule in _RULES + (_NOTIFIED if notified else ()):
        verdict.break_rule(rule.name, _told(connection, rule.sql, rule.problem))
    for unfinished in _OPEN:
        verdict.leave_open(_told(connection, unfinished.sql, unfinished.line))
    totals = _TOTALS + (notifications.TOTALS if notified else ())
    verdict.sums += [_sum(connection, total) for total in totals]
    return verdict


def _told(connection: sa.Connection, sql: str, line: str) -> Iterator[str]:
    return (line.format(**row) for row in _rows(connection, sql))


def _rows(connection: sa.Connection, sql: str) -> Iterator[dict[str, Any]]:
    # There are no parameters: a colon in a statement is a literal colon.
    statement = sa.text(sql.replace(":", "\\:"))
    with connection.execute(statement, execution_options={"yield_per": _BATCH}) as result:
        for row in result.mappings():
            yield {name: _plain(value) for name, value in row.items()}


def _sum(connection: sa.Connection, total: Total) -> Sum:
    left, right = (_number(connection, sql) for _, sql in (total.left, total.right))
    return Sum(total.section, total.left[0], left, total.right[0], right, total.cents)


def _number(connection: sa.Connection, sql: str) -> int:
    return int(connection.scalar(sa.text(sql.replace(":", "\\:"))) or 0)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, Decimal) else value  # PostgreSQL's sums of bigint
