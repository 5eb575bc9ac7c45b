import asyncio
from contextlib import AsyncExitStack
from dataclasses import fields
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from grpcmesh.errors import FailedPrecondition
from services.kit.db import Database
from services.kit.migrate import migrate
from services.kit.paging import Page
from services.kit.validation import INT32_MAX
from services.product.domain import Category, Criteria, Draft, Edit, StockItem
from services.product.seed import drafts
from services.product.stock import SqlStock, _Unit
from services.product.storage import SqlProducts
from services.product.tables import reservation_item
from services.product.warehouse import Warehouse
from tests.databases import Maker, meanwhile


def draft(name: str, description: str = "", price: int = 100, stock: int = 10) -> Draft:
    return Draft(name, description, price, stock, Category.HOME, ("a", "ü"))


def edit(product_id: int, values: Draft, **more: Any) -> Edit:
    """As a client sends it that knows neither version nor mask."""
    return Edit(product_id, **{f.name: getattr(values, f.name) for f in fields(values)}, **more)


async def names(products: SqlProducts, **criteria: object) -> list[str]:
    return [p.name async for p in products.search(Criteria(**criteria))]  # type: ignore[arg-type]


async def test_the_seeded_catalogue_is_believable(db: Database) -> None:
    products = [p async for p in SqlProducts(db).search(Criteria())]
    assert [p.id for p in products] == list(range(1, len(products) + 1))
    assert 40 <= len(products) <= 60
    assert {p.category for p in products} == set(Category) - {Category.UNSPECIFIED}
    assert all(p.description and p.tags and p.price > 0 for p in products)
    assert sum(p.stock >= 8_000 for p in products) > 40 > 0 < sum(p.stock < 20 for p in products)


async def test_reservations_that_were_released_are_forgotten_and_those_that_hold_stock_are_not(
    db: Database,
) -> None:
    now = 1_767_225_600_000_000
    stock = SqlStock(db, lambda: now)
    warehouse = Warehouse(stock)
    for key in ("held", "given back"):
        await warehouse.reserve(key, [StockItem(2, 5), StockItem(3, 1)])
    await warehouse.release("given back")
    await warehouse.release("never held")
    assert await stock.forget(60) == 0
    now += 61_000_000
    assert await stock.forget(60) == 2
    kept = await db.read(lambda c: c.scalars(select(reservation_item.c.key)).all())
    assert set(kept) == {"held"}
    assert await warehouse.release("held")


async def test_a_key_that_is_forgotten_while_it_is_asked_for_is_reserved_anew(url: str) -> None:
    now = 1_767_225_600_000_000
    async with Database.open(url, "product") as db, Database.open(url, "product") as other:
        await Warehouse(SqlStock(db, lambda: now)).release("k")
        do = meanwhile(db)

        class Unit(_Unit):
            def claim(self, key: str, *, released: bool) -> bool:
                claimed = super().claim(key, released=released)
                if not claimed and not db.is_sqlite:  # SQLite has one writer at a time
                    do(SqlStock(other, lambda: now + 2_000_000).forget(1))
                return claimed

        monkeypatch = pytest.MonkeyPatch()
        with monkeypatch.context() as patched:
            patched.setattr("services.product.stock._Unit", Unit)
            reserving = Warehouse(SqlStock(db, lambda: now)).reserve("k", [StockItem(1, 2)])
            if db.is_sqlite:
                with pytest.raises(FailedPrecondition):
                    await reserving
            else:
                assert [item.quantity for item in await reserving] == [2]


async def test_seeding_again_changes_nothing(db: Database, url: str) -> None:
    await SqlProducts(db).remove(1, 0)
    await Warehouse(SqlStock(db)).reserve("k", [StockItem(2, 5)])
    before = await SqlProducts(db).get(2)
    await migrate(url, "product")
    assert await SqlProducts(db).get(1) is None
    assert await SqlProducts(db).get(2) == before


async def test_two_migrations_at_once_leave_one_catalogue(new_databases: Maker) -> None:
    url = new_databases().url("product")
    await asyncio.gather(migrate(url, "product"), migrate(url, "product"))
    async with Database.open(url, "product") as db:
        assert len([p async for p in SqlProducts(db).search(Criteria())]) == len(drafts())


async def test_a_product_comes_back_as_it_was_put(db: Database) -> None:
    products = SqlProducts(db, clock=lambda: 1_000)
    (made,) = await products.add([draft("Lámpara", "bright", price=1999)])
    assert await products.get(made.id) == made
    assert (made.tags, made.created_at, made.updated_at) == (["a", "ü"], 1_000, 1_000)
    changed = await SqlProducts(db, clock=lambda: 2_000).edit(edit(made.id, draft("Lamp")))
    assert changed is not None
    assert (changed.name, changed.created_at, changed.updated_at) == ("Lamp", 1_000, 2_000)
    assert (made.version, changed.version) == (1, 2)


async def test_an_id_is_never_given_twice(db: Database) -> None:
    products = SqlProducts(db)
    (first,) = await products.add([draft("a")])
    assert await products.remove(first.id, 0)
    assert not await products.remove(first.id, 0)
    (second,) = await products.add([draft("b")])
    assert second.id > first.id


async def test_a_batch_is_added_as_a_whole_or_not_at_all(db: Database) -> None:
    before = await names(SqlProducts(db))
    with pytest.raises(IntegrityError):
        await SqlProducts(db).add([draft("a"), draft("b", stock=-1)])
    assert await names(SqlProducts(db)) == before


@pytest.mark.parametrize(
    "query", ["ÉCLAIR", "éclair", "e\u0301clair", "STRASSE", "straße", "100%", "a_b", "\\"]
)
async def test_a_search_knows_no_case_no_composition_and_no_wildcards(db: Database, query: str) -> None:
    products = SqlProducts(db)
    await products.add([draft("Éclair", "In der Straße: 100% a_b \\ here"), draft("other axb 1000")])
    assert await names(products, query=query) == ["Éclair"]


async def test_a_search_goes_by_price_and_category(db: Database) -> None:
    products = SqlProducts(db)
    await products.add([draft(f"zz {price}", price=price) for price in (100, 200, 300)])
    assert await names(products, query="zz", min_price=200) == ["zz 200", "zz 300"]
    assert await names(products, query="zz", max_price=200) == ["zz 100", "zz 200"]
    assert await names(products, query="zz", category=Category.BOOKS) == []


async def test_a_search_finds_more_than_it_reads_at_a_time(db: Database) -> None:
    products = SqlProducts(db)
    await products.add([draft(f"zz {i}") for i in range(250)])
    assert await names(products, query="zz") == [f"zz {i}" for i in range(250)]


async def test_a_reader_that_stops_in_the_middle_holds_nothing(db: Database) -> None:
    for _ in range(20):
        search = SqlProducts(db).search(Criteria())
        await anext(search)
        await search.aclose()  # type: ignore[attr-defined]
    assert await SqlProducts(db).get(1)


async def test_pages_follow_each_other(db: Database) -> None:
    products = SqlProducts(db)
    pages = [(await products.page(Category.BOOKS, Page(4, offset))).items for offset in (0, 4, 8, INT32_MAX)]
    assert [len(p) for p in pages] == [4, 4, 3, 0]
    assert len({p.id for page in pages for p in page}) == 11


async def test_concurrent_reservations_of_two_processes_never_oversell(url: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(Database.open(url, "product", lock_timeout=60)) for _ in range(2)
        ]
        (made,) = await SqlProducts(replicas[0]).add([draft("scarce", stock=20)])

        async def reserve(i: int) -> bool:
            try:
                await Warehouse(SqlStock(replicas[i % 2])).reserve(f"order-{i}", [StockItem(made.id, 1)])
            except FailedPrecondition as e:
                return e.reason.reason != "OUT_OF_STOCK"
            return True

        assert sum(await asyncio.gather(*(reserve(i) for i in range(50)))) == 20
        left = await SqlProducts(replicas[1]).get(made.id)
        assert left is not None
        assert left.stock == 0


async def test_the_same_key_at_two_replicas_at_once_reserves_once(url: str) -> None:
    async with AsyncExitStack() as stack:
        replicas = [
            await stack.enter_async_context(Database.open(url, "product", lock_timeout=60)) for _ in range(2)
        ]
        before = await SqlProducts(replicas[0]).get(1)
        warehouses = [Warehouse(SqlStock(r)) for r in replicas]
        answers = await asyncio.gather(
            *(warehouses[i % 2].reserve("k", [StockItem(1, 3)]) for i in range(10))
        )
        assert answers == answers[:1] * 10
        assert sum(await asyncio.gather(*(warehouses[i % 2].release("k") for i in range(10)))) == 1
        after = await SqlProducts(replicas[1]).get(1)
        assert before == after


async def test_a_refused_reservation_leaves_no_trace(db: Database) -> None:
    with pytest.raises(FailedPrecondition):
        await Warehouse(SqlStock(db)).reserve("k", [StockItem(1, 1), StockItem(2, INT32_MAX)])
    assert await db.read(lambda c: c.scalar(select(func.count()).select_from(reservation_item))) == 0
    assert await Warehouse(SqlStock(db)).reserve("k", [StockItem(1, 1)])


async def test_prices_and_names_of_a_reservation_stay_as_they_were(db: Database) -> None:
    products, warehouse = SqlProducts(db), Warehouse(SqlStock(db))
    (made,) = await products.add([draft("old", price=100)])
    first = await warehouse.reserve("k", [StockItem(made.id, 1)])
    await products.edit(edit(made.id, draft("new", price=999)))
    assert await warehouse.reserve("k", [StockItem(made.id, 1)]) == first
    await products.remove(made.id, 0)
    assert await warehouse.reserve("k", [StockItem(made.id, 1)]) == first


async def test_stock_that_comes_back_is_not_lost_however_much_there_is(db: Database) -> None:
    products, warehouse = SqlProducts(db), Warehouse(SqlStock(db))
    (made,) = await products.add([draft("a", stock=10)])
    await warehouse.reserve("k", [StockItem(made.id, 10)])
    await products.edit(edit(made.id, draft("a", stock=INT32_MAX)))
    await warehouse.release("k")
    after = await products.get(made.id)
    assert after is not None
    assert after.stock == INT32_MAX + 10
