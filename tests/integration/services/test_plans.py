"""No statement that a user or a timer causes reads a large table whole: each statement's query plan."""

from contextlib import suppress

import pytest

from grpcmesh.errors import MeshError
from services.kit import retention
from services.kit.db import Database
from services.product import search
from tests.databases import Maker
from tests.plans import ROWS, analyze, fill, recorded, scans

from .plankit import AFTER, SERVICES


@pytest.mark.parametrize("service", SERVICES)
async def test_no_statement_reads_a_large_table_whole(
    new_databases: Maker, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In proportion to the tables, which are a hundredth of what they may be.
    monkeypatch.setattr(search, "STRIDE", ROWS // 20)
    monkeypatch.setattr(retention, "PIECE", ROWS // 200)
    tables, calls = SERVICES[service]
    async with Database.open(new_databases(service).url(service), service) as db:
        for table, columns in tables:
            await fill(db, table, **columns)
        await db.write(lambda c: [c.exec_driver_sql(each) for each in AFTER.get(service, ())])
        await analyze(db)
        with recorded() as statements:
            for call in calls(db):
                with suppress(MeshError):
                    await call
        found = await scans(db, statements, {table.name for table, _ in tables})
    assert len(statements) > 5
    assert not found, "\n\n".join(f"{statement}\n{plan}" for statement, plan in found.items())
