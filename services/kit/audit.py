"""Decides which calls of a service are written to its audit log, and serves the method that lists it."""

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from ecommerce import common_pb2

from grpcmesh.call import current_workload
from grpcmesh.errors import MeshError
from grpcmesh.status import code_of
from services.kit import audit_record
from services.kit.audit_record import OK, AuditRecord
from services.kit.caller import acting_admin
from services.kit.db import Database
from services.kit.paging import DEFAULT_SIZE, MAX_SIZE
from services.kit.validation import checking

T = TypeVar("T")
Handler = Callable[[Any, Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class AuditedMethod:
    """The audit settings of one method.

    Args:
        kind: The kind of thing it acts on, such as "product".
        target: Reads the id from a request. If it returns nothing, the id of what the call creates is logged.
        detail: Returns the details of a request to log. They must hold neither personal data nor secrets,
            because entries are kept for ever.
        applies: Returns whether to log a request that was made by the admin with this user id.
    """

    kind: str
    target: Callable[[Any], object] = lambda request: ""
    detail: Callable[[Any], str] = lambda request: ""
    applies: Callable[[Any, int], bool] = lambda request, admin: True


class AuditLog:
    """A service's audit log.

    Args:
        db: The service's database. A migration must have created the table.
        clock: Returns the time in Unix seconds.
    """

    def __init__(self, db: Database, clock: Callable[[], float] = time.time) -> None:
        self._db, self._clock = db, clock

    def around(self, action: str, method: AuditedMethod, handler: Handler) -> Handler:
        """Wrap a handler so that its calls are logged when an admin or the operator makes them.

        Calls that are refused or fail are logged, too, with their status code as the outcome.
        """

        @functools.wraps(handler)
        async def logged(request: Any, context: Any) -> Any:
            record = self._record(action, method, request)
            if record is None:
                return await handler(request, context)
            try:
                with audit_record.recording(record):
                    response = await handler(request, context)
            except Exception as e:
                with suppress(MeshError):  # what went wrong first is what the caller learns
                    await self._add(record, code_of(e).name)
                raise
            if not record.written:  # nothing had to be changed
                await self._add(record, OK)
            return response

        return logged

    async def page(self, before: int, limit: int) -> list[common_pb2.AuditEntry]:
        """Return up to `limit` entries, the newest first.

        `before` 0 begins with the newest entry; otherwise only entries with a smaller id are returned.
        """
        newest = sa.select(audit_record.table).order_by(audit_record.table.c.id.desc()).limit(limit)
        statement = newest.where(audit_record.table.c.id < before) if before else newest
        return [_message(row) for row in await self._db.read(lambda c: c.execute(statement).all())]

    async def list(self, request: Any, context: Any) -> AsyncIterator[common_pb2.AuditEntry]:
        """Serve `ListAuditLog`, for admins and the operator.

        Raises:
            Unauthenticated, PermissionDenied: the caller is neither an admin nor the operator.
            InvalidArgument: `before` or `page_size` is negative.
        """
        acting_admin().require_admin()
        with checking() as check:
            check.that(request.before >= 0, "before", "must not be negative")
            check.that(request.page_size >= 0, "page_size", "must not be negative")
        for entry in await self.page(request.before, min(request.page_size or DEFAULT_SIZE, MAX_SIZE)):
            yield entry

    def _record(self, action: str, method: AuditedMethod, request: Any) -> AuditRecord | None:
        actor, workload = acting_admin(), current_workload()
        if not actor.is_admin or not method.applies(request, actor.user_id):
            return None
        carrier = workload.service if workload else ""
        target, detail = str(method.target(request) or ""), method.detail(request)
        return AuditRecord(int(self._clock()), actor.user_id, carrier, action, method.kind, target, detail)

    async def _add(self, record: AuditRecord, outcome: str) -> None:
        statement = sa.insert(audit_record.table).values(record.row(outcome))
        await self._db.write(lambda c: c.execute(statement))


def audited(servicer: T, log: AuditLog, methods: Mapping[str, AuditedMethod]) -> T:
    """Wrap the servicer's audited methods so that they are logged, and add `ListAuditLog`.

    Return the servicer.
    """
    for name, method in methods.items():
        setattr(servicer, name, log.around(name, method, getattr(servicer, name)))
    setattr(servicer, "ListAuditLog", log.list)  # noqa: B010 - the servicer's type does not matter here
    return servicer


def _message(row: sa.Row[Any]) -> common_pb2.AuditEntry:
    entry = common_pb2.AuditEntry(
        id=row.id,
        actor_id=row.actor,
        workload=row.workload,
        action=row.action,
        target=row.target,
        detail=row.detail,
        outcome=row.outcome,
    )
    entry.at.FromSeconds(row.at)
    return entry
