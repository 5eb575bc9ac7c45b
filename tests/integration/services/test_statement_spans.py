"""Spans of database statements, on both kinds of database."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from opentelemetry.semconv.attributes import db_attributes, server_attributes
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from grpcmesh.call import TraceContext
from grpcmesh.telemetry.tracing import Step, Tracer
from services.kit.db import Database
from services.kit.statement_spans import sanitized, summarized
from tests.databases import Maker

#: The names of OpenTelemetry's stable conventions.
CONVENTIONS = {
    value
    for module in (db_attributes, server_attributes)
    for key, value in vars(module).items()
    if key.isupper() and isinstance(value, str)
}


class Recorded:
    """One span."""

    def __init__(self, name: str, kind: str, parent: TraceContext | None, attributes: dict[str, Any]) -> None:
        self.name, self.kind, self.parent, self.attributes = name, kind, parent, dict(attributes)
        self.error: str | None = None
        self.ended = 0


class Recorder:
    """Keeps spans in a list."""

    def __init__(self) -> None:
        self.spans: list[Recorded] = []

    def start(self, name: str, kind: str, parent: TraceContext | None, attributes: dict[str, Any]) -> Any:
        self.spans.append(Recorded(name, kind, parent, attributes))
        return self.spans[-1]

    def context(self, span: Recorded) -> TraceContext:
        trace_id = span.parent.trace_id if span.parent else "1" * 32
        return TraceContext(trace_id, f"{self.spans.index(span) + 1:016x}", True)

    def end(self, span: Recorded, error: str | None, attributes: dict[str, Any]) -> None:
        span.error, span.attributes = error, span.attributes | attributes
        span.ended += 1

    @property
    def statements(self) -> list[Recorded]:
        return [span for span in self.spans if span.kind == "client"]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def tracer_of(recorder: Recorder, ratio: float = 1.0) -> Tracer:
    return Tracer(ratio, recorder, random.Random(1))


@asynccontextmanager
async def opened(new_databases: Maker, tracer: Tracer | None) -> AsyncIterator[Database]:
    async with Database.open(new_databases().url("shop"), "shop", tracer=tracer) as db:

        def prepare(c: Connection) -> None:
            if not db.is_sqlite:
                c.execute(text("CREATE SCHEMA shop"))
            c.execute(text("CREATE TABLE customer (id INTEGER PRIMARY KEY, email VARCHAR(50) UNIQUE)"))

        await db.write(prepare)
        yield db


def insert(*emails: str) -> Callable[[Connection], None]:
    rows = [{"id": hash(email) % 10_000, "email": email} for email in emails]
    return lambda c: c.execute(text("INSERT INTO customer VALUES (:id, :email)"), rows)  # type: ignore[return-value]


async def test_a_statement_is_a_child_of_the_step_or_call_that_makes_it(
    new_databases: Maker, recorder: Recorder
) -> None:
    tracer = tracer_of(recorder)
    async with opened(new_databases, tracer) as db:
        with Step(tracer, "buy", {}) as step:
            await db.write(insert("alice@example.org"))
            count = await db.read(lambda c: c.scalar(text("SELECT count(*) FROM customer")))
    assert count == 1
    first, second = recorder.statements
    assert first.parent == second.parent == step.trace
    assert (first.name, second.name) == ("INSERT customer", "SELECT customer")
    assert [(span.ended, span.error) for span in (first, second)] == [(1, None)] * 2
    assert first.attributes["db.system.name"] == ("sqlite" if db.is_sqlite else "postgresql")
    assert first.attributes["db.namespace"] == ("shop" if db.is_sqlite else f"{db.url.database}|shop")
    assert "server.address" in first.attributes or db.is_sqlite or not db.url.host
    assert second.attributes["db.query.text"] == "SELECT count(*) FROM customer"
    assert set(first.attributes) | set(second.attributes) <= CONVENTIONS


async def test_no_value_is_recorded(new_databases: Maker, recorder: Recorder) -> None:
    tracer = tracer_of(recorder)
    secrets = ["alice@example.org", "4111111111111111", "s3cret"]
    async with opened(new_databases, tracer) as db:
        with Step(tracer, "buy", {}):
            await db.write(insert(*secrets[:2]))
            await db.read(lambda c: c.execute(text("SELECT 's3cret', 4111111111111111")).all())
            some = text("SELECT id FROM customer WHERE email IN :them").bindparams(
                bindparam("them", secrets, expanding=True)
            )
            await db.read(lambda c: c.execute(some).all())
            with pytest.raises(IntegrityError):
                await db.write(insert("alice@example.org"))
            with pytest.raises(DBAPIError):
                await db.read(lambda c: c.exec_driver_sql("SELECT 's3cret' FROM nowhere"))
    assert len(recorder.statements) == 5
    told = repr([(span.name, span.attributes, span.error) for span in recorder.spans])
    assert not [secret for secret in secrets if secret in told]
    assert recorder.statements[0].attributes["db.operation.batch.size"] == 2


async def test_a_statement_that_fails_has_its_code_also_if_the_transaction_goes_on(
    new_databases: Maker, recorder: Recorder
) -> None:
    tracer = tracer_of(recorder)

    def twice(c: Connection) -> int | None:
        insert("alice@example.org")(c)
        with suppress(IntegrityError), c.begin_nested():
            insert("alice@example.org")(c)
        return c.scalar(text("SELECT count(*) FROM customer"))

    async with opened(new_databases, tracer) as db:
        with Step(tracer, "buy", {}):
            assert await db.write(twice) == 1
        code = "SQLITE_CONSTRAINT_PRIMARYKEY" if db.is_sqlite else "23505"
    told = [
        (s.name.split()[0], s.ended, s.error, s.attributes.get("db.response.status_code"))
        for s in recorder.statements
    ]
    assert told == [
        ("INSERT", 1, None, None),
        ("SAVEPOINT", 1, None, None),
        ("INSERT", 1, code, code),
        ("ROLLBACK", 1, None, None),
        ("SELECT", 1, None, None),
    ]


@pytest.mark.parametrize("sampled", [True, False])
async def test_nothing_listens_outside_of_a_sampled_trace(
    new_databases: Maker, recorder: Recorder, sampled: bool
) -> None:
    """Neither for an unsampled call, nor for background work: its statements would each begin a trace."""
    seen: list[bool] = []

    def look(c: Connection) -> None:
        seen.append(bool(c.dispatch.before_cursor_execute))

    tracer = tracer_of(recorder, 0.0)
    async with opened(new_databases, tracer) as db:
        await db.read(look)
        with Step(tracer, "buy", {}):
            await db.read(look)
            await db.write(look)
        if sampled:
            with Step(tracer_of(recorder), "buy", {}):
                await db.read(look)
        await db.read(look)
    assert seen == [False, False, False, *([True] if sampled else []), False]
    assert recorder.statements == []


async def test_the_spans_of_concurrent_calls_do_not_mix(new_databases: Maker, recorder: Recorder) -> None:
    tracer = tracer_of(recorder)

    async def one(db: Database, n: int) -> None:
        with Step(tracer, str(n), {}) as step:
            await db.read(lambda c: c.execute(text(f"SELECT id AS c{n} FROM customer")).all())
            steps[n] = step.trace

    steps: dict[int, TraceContext] = {}
    async with opened(new_databases, tracer) as db:
        await asyncio.gather(*(one(db, n) for n in range(20)))
    found = {span.attributes["db.query.text"]: span.parent for span in recorder.statements}
    assert found == {f"SELECT id AS c{n} FROM customer": trace for n, trace in steps.items()}


def test_values_in_the_text_are_removed() -> None:
    assert sanitized("SELECT 'it''s', E'a\\nb', x'5ec', 12, 1.5e3, t1.c2 FROM t1 WHERE a = $1") == (
        "SELECT ?, E?, x?, ?, ?, t1.c2 FROM t1 WHERE a = $1"
    )
    assert (
        sanitized("UPDATE t SET n = n - ? WHERE id IN (?, ?)") == "UPDATE t SET n = n - ? WHERE id IN (?, ?)"
    )
    assert sanitized('SELECT "id" FROM "order" LIMIT -1') == 'SELECT "id" FROM "order" LIMIT -?'


def test_a_summary_names_the_operation_and_the_tables() -> None:
    assert summarized("select a.x FROM account a\n JOIN role ON 1 JOIN role") == "SELECT account role"
    assert summarized('INSERT INTO "order" (id) VALUES (?)') == "INSERT order"
    assert summarized("BEGIN IMMEDIATE") == "BEGIN"
    assert len(summarized("SELECT 1 FROM " + " JOIN ".join(f"table_{n}" for n in range(100)))) == 255


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT a -- don't\nFROM t WHERE b = 'secret'", "SELECT a \nFROM t WHERE b = ?"),
        ("SELECT /* it's */ a FROM t WHERE b = 'secret'", "SELECT  a FROM t WHERE b = ?"),
        ("SELECT a FROM t /* 'secret' */", "SELECT a FROM t "),
        ("SELECT \"o'b\" FROM t WHERE b = 'secret'", 'SELECT "o\'b" FROM t WHERE b = ?'),
        ("SELECT '-- no comment', '/*', 'secret', '*/'", "SELECT ?, ?, ?, ?"),
        ("SELECT 'secret that does not end", "SELECT ?"),
        ("SELECT a -- b\r\nFROM t", "SELECT a \r\nFROM t"),
        ("SELECT a[1], m['secret', 2] FROM t", "SELECT a[1], m?"),
        ("SELECT a::numeric(10, 2) - b / 2 * c", "SELECT a::numeric(?, ?) - b / ? * c"),
        ("SELECT 0xC0FFEE, 4111_1111, .25, 1e-5, 7 - 3", "SELECT ?, ?, .?, ?, ? - ?"),
    ],
)
def test_an_apostrophe_or_a_notation_of_numbers_shows_no_value(text: str, shown: str) -> None:
    assert sanitized(text) == shown


#: Of a statement, the database returns each `secret`; whatever else it reads as a value is not looked for.
BOTH = [
    "SELECT 'secret', /* ' */ 'secret', '\\secret', 'it''s a secret'",
    "SELECT '--', 'secret', '/*', 'secret', '*/', '$$', 'secret'",
    "SELECT 1 AS \"o'b\", 'secret' AS \"b'c\"",
    "SELECT 'secret' -- '\n",
    "SELECT 'secret' /*/ ' */ -- * ' /*",
    "SELECT 'a\n-- secret'",
]
ON_POSTGRESQL = [
    "SELECT /* /* a */ don't */ 'secret'",
    "SELECT 1 --\r, 'b\nsecret'",
    "SELECT E'a'\n  'b\\' secret'",
    "SELECT E'\\\\', 'secret', e'\\', secret'",
    "SELECT $$it's a secret$$, $a$ $$ secret ' $$ $a$",
    "SELECT 1 AS a$$, 'b $$ secret'",
    "SELECT U&'a secret', n'secret', 1.5, 'secret'",
    "SELECT ARRAY['secret', E'\\', secret']",
    "SELECT U&\"o'b\", 'secret' FROM (SELECT 1 AS \"o'b\") AS t",
    "SELECT true AS a\u00a0$$, 'b $$ secret'",
]
ON_SQLITE = [
    "SELECT 1 /* a /* b */, 'secret */'",
    "SELECT 1 --\r'\n, 'secret'",
    "SELECT b'x\\', 'secret' FROM (SELECT 1 AS b)",
    "SELECT 1 AS `o'b`, 'secret'",
    "SELECT 1 AS [o'b], 'secret'",
    "SELECT 'secret' /* that does not end '",
]


async def test_what_the_database_reads_as_a_value_is_not_shown(new_databases: Maker) -> None:
    async with opened(new_databases, None) as db:
        for statement in [*BOTH, *(ON_SQLITE if db.is_sqlite else ON_POSTGRESQL)]:
            row = await db.read(lambda c, read=statement: c.exec_driver_sql(read).one())  # type: ignore[misc]
            assert "secret" in str(row), statement
            assert "secret" not in sanitized(statement)


@pytest.mark.parametrize(
    "broken",
    [
        "SELECT 1 /* a secret",
        "SELECT 'a secret",
        "SELECT E'a\\' secret",
        "SELECT $a$ a secret $b$",
        "SELECT \"o'b FROM t WHERE b = 'secret'",
        "SELECT [a, 'secret",
        "SELECT `a, 'secret",
    ],
)
def test_what_does_not_end_is_not_shown(broken: str) -> None:
    assert "secret" not in sanitized(broken)


@pytest.mark.parametrize(
    "hostile", ["/*", "--", "$a$b", "'", '"', 'x""', "E'", "\\'", "$a", "1.", "1e-", "[", "'\n"]
)
def test_the_time_is_proportional_to_the_length(hostile: str) -> None:
    def seconds(times: int) -> float:
        started = time.process_time()
        sanitized(hostile * times)
        return time.process_time() - started

    # With quadratic time, the longer text would take 256 times as long.
    assert seconds(16_000 * 16) < 100 * max(seconds(16_000), 0.001)


def test_a_comment_is_no_operation() -> None:
    assert summarized("/* of the shop */ SELECT a FROM t") == "SELECT t"
