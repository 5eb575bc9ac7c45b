"""What statements a piece of code sends to a database, and how the database would work them off."""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from services.kit.db import Database

#: Rows of a large table: enough for PostgreSQL to find an index worth it.
ROWS = 10_000
_PIECE = 2_000
#: What a limit has to save.
EARLY = 10
_PARTIAL = {
    True: "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '% WHERE %'",
    False: "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '% WHERE %'",
}
#: Nodes of PostgreSQL's plans that read all of what is below them before they answer.
_WHOLE = ("Sort", "Aggregate", "Hash", "HashAggregate", "SetOp", "Unique", "WindowAgg", "Materialize")

Statements = dict[str, tuple[Any, ...]]


@contextmanager
def recorded() -> Iterator[Statements]:
    """The statements that are executed until the end of the block, each with the parameters it first had."""
    statements: Statements = {}

    def note(_: object, __: object, statement: str, parameters: Any, ___: object, executemany: bool) -> None:
        several = executemany and parameters and isinstance(parameters[0], tuple | list)
        first = parameters[0] if several else parameters
        if re.match(r"\s*(SELECT|UPDATE|DELETE|WITH|INSERT INTO \S+ \([^)]*\) SELECT)", statement):
            statements.setdefault(statement, tuple(first))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


async def fill(db: Database, table: sa.Table, **columns: Callable[[int], Any]) -> None:
    """Puts `ROWS` rows into a table; a column that is not given follows from its type and the number."""

    def value(column: sa.Column[Any], n: int) -> Any:
        if column.name in columns:
            return columns[column.name](n)
        match column.type:
            case sa.Boolean():
                return False
            case sa.Integer():
                return n
            case sa.Float():
                return float(n)
            case sa.JSON():
                return {}
            case _:
                return f"{column.name}{n}"

    for start in range(1, ROWS + 1, _PIECE):
        rows = [{c.name: value(c, n) for c in table.c} for n in range(start, start + _PIECE)]
        await db.write(lambda c, rows=rows: c.execute(sa.insert(table), rows))  # type: ignore[misc]


async def analyze(db: Database) -> None:
    """Has the database look at what is in its tables; on PostgreSQL numbers go on after the rows."""

    def look(c: sa.Connection) -> None:
        if not db.is_sqlite:
            serial = "SELECT table_name, column_name FROM information_schema.columns"
            serial += " WHERE table_schema = :schema AND column_default LIKE 'nextval(%'"
            for table, column in c.execute(sa.text(serial), {"schema": db.service}).all():
                sequence = f"pg_get_serial_sequence('\"{table}\"', '{column}')"
                c.exec_driver_sql(f'SELECT setval({sequence}, (SELECT max("{column}") + 1 FROM "{table}"))')
            # As VACUUM does: what was just added is in a list, which makes such an index look dear.
            gin = "SELECT gin_clean_pending_list(format('%I.%I', schemaname, indexname)::regclass)"
            gin += " FROM pg_indexes WHERE schemaname = :schema AND indexdef LIKE '% USING gin %'"
            c.execute(sa.text(gin), {"schema": db.service}).all()
        c.exec_driver_sql("ANALYZE")

    await db.write(look)


async def scans(db: Database, statements: Statements, big: Collection[str]) -> dict[str, str]:
    """The statements that would read a large table whole, each with its plan."""

    def look(c: sa.Connection) -> dict[str, str]:
        partial = set(c.scalars(sa.text(_PARTIAL[db.is_sqlite])))
        explain = _sqlite if db.is_sqlite else _postgres
        told = ((s, explain(c, s, parameters, big, partial)) for s, parameters in statements.items())
        return {statement: plan for statement, plan in told if plan}

    return await db.read(look)


def _sqlite(
    c: sa.Connection, statement: str, parameters: tuple[Any, ...], big: Collection[str], partial: set[str]
) -> str:
    plan = [row[-1] for row in c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    # Without a condition and with a limit, it ends after so many rows.
    ends = "LIMIT" in statement and "WHERE" not in statement and not any("TEMP B-TREE" in s for s in plan)
    for step in plan:
        found = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
        if found and _is_big(found[1], statement, big) and found[2] not in partial and not ends:
            return "\n".join(plan)
    return ""


def _is_big(name: str, statement: str, big: Collection[str]) -> bool:
    alias = re.search(rf"\b(\w+) AS {name}\b", statement)
    return name in big or (alias is not None and alias[1] in big)


def _postgres(
    c: sa.Connection, statement: str, parameters: tuple[Any, ...], big: Collection[str], partial: set[str]
) -> str:
    plan = _explained(c, statement, parameters)
    if not _reads_all(plan, big, partial):
        return ""
    # These tables are a hundredth of what they may be: what an index costs stays, what a scan costs does not.
    c.exec_driver_sql("SET enable_seqscan = off")
    other = _explained(c, statement, parameters)
    c.exec_driver_sql("RESET enable_seqscan")
    if not _reads_all(other, big, partial) and other["Total Cost"] < EARLY * plan["Total Cost"]:
        return ""
    return json.dumps(plan, indent=1)


def _explained(c: sa.Connection, statement: str, parameters: tuple[Any, ...]) -> dict[str, Any]:
    told = c.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    (found,) = json.loads(told) if isinstance(told, str) else told
    plan: dict[str, Any] = found["Plan"]
    return plan


def _reads_all(plan: Mapping[str, Any], big: Collection[str], partial: set[str]) -> bool:
    reads = [node for node in _nodes(plan) if node.get("Relation Name") in big or "Index Name" in node]
    return any(_is_whole(node, partial) for node in reads)


def _nodes(node: Mapping[str, Any], limit: float = math.inf) -> Iterator[dict[str, Any]]:
    """All nodes, each with the cost after which a limit ends it."""
    yield {**node, "limit": limit}
    if node["Node Type"] == "Limit":
        limit = node["Total Cost"]
    elif node["Node Type"].endswith(_WHOLE):
        limit = math.inf
    for child in node.get("Plans", ()):
        yield from _nodes(child, limit)


def _is_whole(node: Mapping[str, Any], partial: set[str]) -> bool:
    if node["Node Type"] in ("Bitmap Heap Scan", "ModifyTable"):  # told by the nodes below it
        return False
    if "Index Cond" in node or node.get("Index Name") in partial:
        return False
    # By PostgreSQL's estimate, a limit ends it after a small part.
    return not node["limit"] * EARLY <= node["Total Cost"]
