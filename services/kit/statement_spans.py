"""Spans of database statements, by OpenTelemetry's conventions.

https://opentelemetry.io/docs/specs/semconv/db/database-spans/, version `SCHEMA_URL` of grpcmesh.

Only statements of sampled traces have one: a transaction outside of a sampled trace is looked at once, and
its statements cost nothing. OpenTelemetry's own instrumentation of SQLAlchemy is not used: it takes the
parent from a context variable of its SDK, which our threads and tasks do not carry, it begins traces of its
own for background work, and its listeners run for every statement.

A span has the text of its statement, with placeholders where values were. Values, also those that stand in
the text or in an error's message, are never recorded.
"""

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Engine, ExceptionContext

from grpcmesh.call import TraceContext
from grpcmesh.telemetry import current_trace
from grpcmesh.telemetry.tracing import Attributes, Tracer

#: The execution option of a connection whose statements are recorded.
_OPTION = "meshmart_spans"
#: The most characters of a summary, as the conventions demand.
_MAX_SUMMARY = 255
#: A part of a statement: what is shown, a comment, a string, or a number. Each is read alike by PostgreSQL
#: and SQLite. What they read differently, or what does not end, is the rest of the text. Quantifiers are
#: possessive, so the time is proportional to the length.
_PART = re.compile(
    r"""(?P<shown>(?:[^\W\d][\w$]*+|"[^"]*+"|\[[^]']*+]|\$\d++|[^\w"'$`[/-]|-(?!-)|/(?!\*))++)"""
    r"""|(?P<comment>--[^\r\n]*+(?=\r?\n|\Z)|/\*(?:[^*/]|\*(?!/)|/(?!\*))*+\*/)"""
    r"""|'(?:[^'\\]|\\(?!')|'')*+'"""
    r"""|\d\w*+(?:\.\w++)?+(?:(?<=[eE])[+-]\d++)?+"""
    r"""|(?P<rest>.++)""",
    re.DOTALL,
)
_TABLES = re.compile(r"\b(?:FROM|INTO|JOIN|UPDATE)\s+(?:ONLY\s+)?([\w.\"]+)", re.IGNORECASE)

T = TypeVar("T")
Work = Callable[[Connection], T]


class StatementSpans:
    """Records the statements of a database.

    Args:
        tracer: The tracer of the process. If None, nothing is recorded.
        url: The database. Its password is not recorded.
        service: The service, whose schema is used on PostgreSQL.
    """

    def __init__(self, tracer: Tracer | None, url: URL, service: str) -> None:
        self._tracer = tracer if tracer is not None and tracer.records else None
        self._attributes = _database(url, service)

    def recording(self, work: Work[T]) -> Work[T]:
        """Return `work`, or if the current trace is sampled, a function that records its statements, too."""
        tracer = self._tracer
        if tracer is None:
            return work
        parent = current_trace()
        if parent is None or not parent.sampled:
            return work
        return _Transaction(tracer, parent, self._attributes).recording(work)


class _Transaction:
    """The spans of one transaction. Its statements run one after the other."""

    def __init__(self, tracer: Tracer, parent: TraceContext, attributes: Attributes) -> None:
        self._tracer, self._parent, self._attributes = tracer, parent, attributes
        self._span: Any = None

    def recording(self, work: Work[T]) -> Work[T]:
        def recorded(connection: Connection) -> T:
            # The connection is this transaction's own, so nobody else's statements are listened to.
            event.listen(connection, "before_cursor_execute", self._before)
            event.listen(connection, "after_cursor_execute", self._after)
            connection.execution_options(**{_OPTION: self})
            try:
                return work(connection)
            except BaseException as e:  # a cancellation, too
                self.end({}, type(e).__name__)
                raise

        return recorded

    def _before(
        self, connection: Connection, cursor: Any, text: str, parameters: Any, context: Any, many: bool
    ) -> None:
        self.end({})
        summary = summarized(text)
        attributes = self._attributes | {"db.query.text": sanitized(text), "db.query.summary": summary}
        if many and len(parameters) > 1:
            attributes["db.operation.batch.size"] = len(parameters)
        _, self._span = self._tracer.start(summary, "client", self._parent, attributes)

    def _after(self, *_: Any) -> None:
        self.end({})

    def end(self, attributes: Attributes, error: str | None = None) -> None:
        """End the span of the statement that runs, if one does."""
        span, self._span = self._span, None
        if span is not None:
            self._tracer.end(span, error, attributes)


def listen_for_errors(engine: Engine) -> None:
    """End the span of a statement that fails, also if its transaction goes on."""
    event.listen(engine, "handle_error", _failed)


def _failed(context: ExceptionContext) -> None:
    if context.connection is None:
        return
    transaction: _Transaction | None = context.connection.get_execution_options().get(_OPTION)
    if transaction is not None:
        error = context.original_exception
        # SQLSTATE on PostgreSQL. The message is not recorded, because it may hold values.
        code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", None)
        transaction.end({"db.response.status_code": code} if code else {}, code or type(error).__name__)


@functools.lru_cache(512)
def sanitized(text: str) -> str:
    """Return a statement without comments, with a question mark for each value that stands in its text.

    The text ends with a question mark where its values cannot be told from the rest: PostgreSQL nests
    comments, and has strings between dollars and strings with escaped apostrophes; SQLite has names between
    backticks. In the shop only a migration that makes a function has any of these. Whatever stands between
    double quotes is a name.
    """
    return _PART.sub(_replaced, text)


def _replaced(part: re.Match[str]) -> str:
    return part["shown"] or ("" if part["comment"] else "?")


@functools.lru_cache(512)
def summarized(text: str) -> str:
    """Return the operation and the tables of a statement, such as `SELECT account role`."""
    clean = sanitized(text)
    tables = dict.fromkeys(name.replace('"', "") for name in _TABLES.findall(clean))
    words = clean.split(None, 1)
    parts = [words[0].strip("(").upper() if words else "", *tables]
    return " ".join(parts)[:_MAX_SUMMARY]


def _database(url: URL, service: str) -> Attributes:
    if url.get_backend_name() == "sqlite":
        return {"db.system.name": "sqlite", "db.namespace": service}
    attributes: Attributes = {"db.system.name": "postgresql", "db.namespace": f"{url.database}|{service}"}
    if url.host:
        attributes |= {"server.address": url.host, "server.port": url.port or 5432}
    return attributes
