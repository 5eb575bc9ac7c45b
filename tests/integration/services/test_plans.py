"""No statement that a user or a timer causes reads a large table whole: each statement's query plan."""

import importlib
from contextlib import suppress

import pytest

from grpcmesh.errors import MeshError
from services.kit import retention
from services.kit.db import Database
from services.product import search
from tests.databases import Maker
from tests.plans import ROWS, analyze, fill, recorded, scans

from .plankit import CALLS
from .plantables import AFTER, SMALL, TABLES
from .storages import calls_of, storage_functions


@pytest.mark.parametrize("service", CALLS)
async def test_no_statement_reads_a_large_table_whole(
    new_databases: Maker, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In proportion to the tables, which are a hundredth of what they may be.
    monkeypatch.setattr(search, "STRIDE", ROWS // 20)
    monkeypatch.setattr(retention, "PIECE", ROWS // 200)
    functions = storage_functions(service)
    called = calls_of(functions, monkeypatch)
    async with Database.open(new_databases(service).url(service), service) as db:
        for table, columns in TABLES[service]:
            await fill(db, table, **columns)
        await db.write(lambda c: [c.exec_driver_sql(each) for each in AFTER.get(service, ())])
        await analyze(db)
        with recorded() as statements:
            for call in CALLS[service](db):
                with suppress(MeshError):
                    await call
        found = await scans(db, statements, {table.name for table, _ in TABLES[service]})
    missing = sorted(set(functions) - called)
    assert not missing, "plankit.py does not call these"
    assert len(statements) > 5
    assert not found, "\n\n".join(f"{statement}\n{plan}" for statement, plan in found.items())


@pytest.mark.parametrize("service", CALLS)
def test_every_table_is_filled_or_known_to_stay_small(service: str) -> None:
    tables = importlib.import_module(f"services.{service}.tables").metadata.tables
    filled = {table.name for table, _ in TABLES[service]}
    assert {name for name in tables if name not in filled} == SMALL.get(service, set())
