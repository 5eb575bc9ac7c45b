"""Searches of the catalogue: what they find, and by which plan, on either database."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from services.kit.db import Database
from services.kit.text import fold
from services.product import search
from services.product.domain import Category, Criteria, Draft, Edit, Product, Wish
from services.product.storage import SqlProducts, row_of
from services.product.tables import product

NUMBER = 3000
DESCRIPTION = "A description as they are, of some length. " * 20
#: Of folded and unfolded, quotes, wildcards of LIKE, operators of FTS5, characters outside of ASCII.
ALPHABET = "aAbB\"'%_\\*:(){}-+ÄäßİﬃΣς中🙂 "


def _draft(name: str, tags: tuple[str, ...] = ()) -> Draft:
    return Draft(name, DESCRIPTION, 100, 5, Category.BOOKS, tags)


async def _found(store: SqlProducts, query: str) -> list[str]:
    return [each.name async for each in store.search(Criteria(query, Category.BOOKS, 0, 0))]


@pytest.fixture
async def db(db: Database) -> Database:
    """Without the products of the seed."""
    await db.write(lambda c: c.execute(sa.delete(product)))
    return db


@pytest.fixture
async def many(db: Database) -> SqlProducts:
    rows = [row_of(_draft(f"Thing number {n:05}"), 0) | {"created_at": 0} for n in range(NUMBER)]
    await db.write(lambda c: c.execute(sa.insert(product), rows))
    if not db.is_sqlite:
        for index in ("product_search_text", "product_search_tags"):  # as VACUUM does
            await db.write(lambda c, i=index: c.execute(sa.text(f"SELECT gin_clean_pending_list('{i}')")))  # type: ignore[misc]
        await db.write(lambda c: c.execute(sa.text("ANALYZE product")))
    return SqlProducts(db)


@pytest.mark.parametrize("query", ['say "', "100%", "_x_", "a\\b", "NEAR(", "x:y", "ſtraſſe", "中文字", "OR"])
async def test_what_is_searched_for_is_text_and_no_operator(db: Database, query: str) -> None:
    store = SqlProducts(db)
    await store.add([_draft(f"before{query}after"), _draft("NEAR something OR other, 100 x")])
    assert f"before{query}after" in await _found(store, query)
    others = [] if query != "OR" else ["NEAR something OR other, 100 x"]
    assert (await _found(store, query))[1:] == others


async def test_a_search_means_contains_without_regard_to_case(db: Database) -> None:
    store, rng = SqlProducts(db), random.Random(1)
    names = ["".join(rng.choices(ALPHABET, k=rng.randint(1, 8))) for _ in range(300)]
    await store.add([_draft(name) for name in names])
    for _ in range(100):
        name = rng.choice(names)
        start = rng.randrange(len(name))
        query = name[start : start + rng.randint(1, 5)]
        query = rng.choice([query, query.upper(), query.lower()])
        assert await _found(store, query) == [n for n in names if fold(query) in fold(f"{n}\n{DESCRIPTION}")]


async def test_an_edited_and_a_deleted_product_are_found_as_they_are(db: Database) -> None:
    store = SqlProducts(db)
    (made,) = await store.add([_draft("Quokka", ("marsupial",))])
    await store.edit(Edit(made.id, name="Wombat", tags=("digger",), stock_named=True))
    assert (await _found(store, "quokka"), await _found(store, "womba")) == ([], ["Wombat"])
    assert [p.name for p in await _candidates(store, "digger")] == ["Wombat"]
    assert await _candidates(store, "marsupial") == []
    await store.remove(made.id, 1)
    assert (await _found(store, "wombat"), await _candidates(store, "digger")) == ([], [])


async def _candidates(store: SqlProducts, stem: str) -> list[Product]:
    return list(await store.candidates(Wish(stems=(stem,)), 10))


@pytest.mark.parametrize("query", ["number 02999", "02", "thing"])
async def test_many_matches_come_once_each_in_the_order_of_ids(many: SqlProducts, query: str) -> None:
    expected = [f"Thing number {n:05}" for n in range(NUMBER) if query in f"thing number {n:05}"]
    assert await _found(many, query) == expected


@contextmanager
def _explained() -> Iterator[list[str]]:
    """The plans of the searches in this block."""
    plans: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM product" in statement and statement.startswith("SELECT product.id"):
            how = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
            asking = connection.connection.cursor()
            asking.execute(how + statement, parameters)
            plans.append("\n".join(str(row) for row in asking.fetchall()))
            asking.close()

    sa.event.listen(sa.Engine, "before_cursor_execute", explain)
    yield plans
    sa.event.remove(sa.Engine, "before_cursor_execute", explain)


async def test_a_search_that_finds_little_reads_the_trigrams(db: Database, many: SqlProducts) -> None:
    with _explained() as plans:
        assert await _found(many, "quetzalcoatl") == []
        await _candidates(many, "quetzalcoatl")
    index = "VIRTUAL TABLE INDEX" if db.is_sqlite else "product_search_text"
    assert len(plans) == 2
    assert [index in plan for plan in plans] == [True, True], plans


async def test_a_short_search_looks_through_so_many_products_a_statement(
    db: Database, many: SqlProducts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "STRIDE", 1000)
    with _explained() as plans:
        assert await _found(many, "zz") == []
    assert len(plans) >= NUMBER // 1000
    assert all(("id>? AND id<?" if db.is_sqlite else "id <= ") in plan for plan in plans), plans


async def test_without_pg_trgm_searches_find_the_same(db: Database, many: SqlProducts) -> None:
    if db.is_sqlite:
        return
    await db.write(lambda c: c.execute(sa.text("DROP EXTENSION pg_trgm CASCADE")))
    assert await _found(many, "number 02999") == ["Thing number 02999"]
