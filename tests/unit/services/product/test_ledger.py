"""Stock is the sum of a ledger, whatever orders and admins do, on both databases."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ecommerce import product_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from grpcmesh.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    MeshError,
    NotFound,
    PermissionDenied,
)
from services.kit.actor import Actor
from services.kit.db import Database
from services.kit.migrate import migrate
from services.kit.paging import Listing, Page
from services.kit.validation import INT32_MAX
from services.product.catalogue import Catalogue
from services.product.domain import Category, Draft, Product, StockItem
from services.product.ledger import Kind, stock_of_edit
from services.product.stock import ECHO_WINDOW, SqlStock
from services.product.storage import SqlProducts
from services.product.tables import metadata, movement
from services.product.warehouse import Warehouse
from tests.databases import Maker

ADMIN, BOB = Actor(1, frozenset({"user", "admin"})), Actor(2, frozenset({"user"}))


class Shop:
    """The product service without its wire; time stands still unless a test moves it."""

    def __init__(self, db: Database) -> None:
        self.db, self.now = db, 1_767_225_600_000_000
        self.products = SqlProducts(db, lambda: self.now)
        self.stock = SqlStock(db, lambda: self.now)
        self.catalogue, self.warehouse = Catalogue(self.products), Warehouse(self.stock)

    async def add(self, stock: int = 50_000) -> Product:
        (made,) = await self.products.add([Draft("Lamp", "bright", 1999, stock, Category.HOME, ("a",))])
        return made

    async def get(self, product_id: int) -> Product:
        found = await self.products.get(product_id)
        assert found is not None
        return found

    async def reserve(self, key: str, product_id: int, quantity: int) -> None:
        await self.warehouse.reserve(key, [StockItem(product_id, quantity)])

    async def kinds(self, product_id: int) -> list[tuple[str, int, int]]:
        """Kind and changes of a product's movements, oldest first."""
        entries = (await self.stock.movements(product_id, Page(100))).items
        return [(e.kind.value, e.stock_change, e.held_change) for e in reversed(entries)]

    async def sums(self) -> dict[int, tuple[int, int]]:
        """By product: the ledger's sums of stock and of what is held."""
        changes = sa.func.sum(movement.c.stock_change), sa.func.sum(movement.c.held_change)
        statement = sa.select(movement.c.product_id, *changes).group_by(movement.c.product_id)
        rows = await self.db.read(lambda c: c.execute(statement).all())
        return {row[0]: (int(row[1]), int(row[2])) for row in rows}


@pytest.fixture
def shop(db: Database) -> Shop:
    return Shop(db)


class Sent:
    """What a client sends: all fields, as it has read them, but for those that it changes."""

    def __init__(self, read: Product, **changed: Any) -> None:
        self.name, self.description, self.stock = read.name, read.description, read.stock
        self.price, self.category, self.tags = read.price / 100, read.category, read.tags
        for name, value in changed.items():
            setattr(self, name, value)


async def test_a_description_saved_by_an_old_client_leaves_what_was_reserved_meanwhile(shop: Shop) -> None:
    read = await shop.add()
    await shop.reserve("order-1", read.id, 3)
    await shop.reserve("order-2", read.id, 4)
    saved = await shop.catalogue.update(ADMIN, read.id, Sent(read, description="brighter"))
    assert (saved.description, saved.stock) == ("brighter", 49_993)
    assert (await shop.kinds(read.id))[1:] == [("reserve", -3, 3), ("reserve", -4, 4)]


async def test_what_was_read_between_two_orders_is_no_change_either(shop: Shop) -> None:
    made = await shop.add()
    await shop.reserve("order-1", made.id, 3)
    read = await shop.get(made.id)
    await shop.reserve("order-2", made.id, 4)
    await shop.warehouse.release("order-1")
    assert (await shop.catalogue.update(ADMIN, made.id, Sent(read, price=5.0))).stock == 49_996


async def test_a_stock_that_an_old_client_changes_is_a_correction_of_what_is_there(shop: Shop) -> None:
    read = await shop.add()
    await shop.reserve("order-1", read.id, 7)
    assert (await shop.catalogue.update(ADMIN, read.id, Sent(read, stock=60_000))).stock == 60_000
    correction = (await shop.stock.movements(read.id, Page(1))).items[0]
    assert (correction.kind, correction.stock_change, correction.stock_after) == (
        Kind.CORRECT,
        10_007,
        60_000,
    )
    assert correction.user_id == ADMIN.user_id
    assert await shop.warehouse.release("order-1")
    assert (await shop.get(read.id)).stock == 60_007
    assert (await shop.sums())[read.id] == (60_007, 0)


@pytest.mark.parametrize("how", ["long ago", "corrected since"])
async def test_a_stock_of_former_days_is_a_correction(shop: Shop, how: str) -> None:
    read = await shop.add()
    if how == "long ago":
        await shop.reserve("order-1", read.id, 7)
        shop.now += ECHO_WINDOW + 1
        await shop.reserve("order-2", read.id, 1)
        shop.now += ECHO_WINDOW + 1
    else:
        await shop.catalogue.update(ADMIN, read.id, Sent(read, stock=10))
    assert (await shop.catalogue.update(ADMIN, read.id, Sent(read))).stock == 50_000


async def test_the_stock_of_a_mask_is_meant_as_it_is_said(shop: Shop) -> None:
    read = await shop.add()
    await shop.reserve("order-1", read.id, 7)
    changed = await shop.catalogue.update(ADMIN, read.id, Sent(read, name="x"), ["stock"])
    assert (changed.name, changed.stock) == ("Lamp", 50_000)
    assert (await shop.kinds(read.id))[-1] == ("correct", 7, 0)


async def test_a_mask_changes_what_it_names_and_looks_at_nothing_else(shop: Shop) -> None:
    read = await shop.add()
    await shop.reserve("order-1", read.id, 7)
    sent = Sent(read, name="", price=-1, stock=-5, description="brighter", tags=["b"])
    changed = await shop.catalogue.update(ADMIN, read.id, sent, ["description", "tags"])
    assert (changed.name, changed.price, changed.stock) == ("Lamp", 1999, 49_993)
    assert (changed.description, changed.tags, changed.version) == ("brighter", ["b"], 2)
    assert [p.id async for p in shop.catalogue.search("brighter", 0, 0, 0)] == [read.id]


@pytest.mark.parametrize("mask", [["id"], ["name", "version"], ["*", "name"], ["Name"], ["tags.0"], [""]])
async def test_a_mask_of_anything_else_is_refused(shop: Shop, mask: list[str]) -> None:
    read = await shop.add()
    with pytest.raises(InvalidArgument) as refused:
        await shop.catalogue.update(ADMIN, read.id, Sent(read), mask)
    assert {v.field for v in refused.value.violations} == {"update_mask"}


async def test_an_edit_of_a_version_that_was_edited_since_is_refused(shop: Shop) -> None:
    read = await shop.add()
    await shop.catalogue.update(ADMIN, read.id, Sent(read, price=5.0), ["price"], read.version)
    with pytest.raises(Aborted) as refused:
        await shop.catalogue.update(ADMIN, read.id, Sent(read, name="Lantern"), ["name"], read.version)
    assert (refused.value.reason.reason, refused.value.reason.metadata) == (
        "VERSION_CONFLICT",
        {"version": "2"},
    )
    assert (await shop.get(read.id)).name == "Lamp"


async def test_orders_are_no_edits_and_a_repeated_edit_is_no_conflict(shop: Shop) -> None:
    read = await shop.add()
    await shop.reserve("order-1", read.id, 7)
    edits = [
        await shop.catalogue.update(ADMIN, read.id, Sent(read, name="Lantern"), ["name"], read.version)
        for _ in "ab"
    ]
    assert {e.version for e in edits} == {2}


async def test_of_edits_at_once_from_one_version_one_is_made(shop: Shop) -> None:
    read = await shop.add()
    edits = [
        shop.catalogue.update(ADMIN, read.id, Sent(read, name=str(n)), ["name"], read.version)
        for n in range(8)
    ]
    results = await asyncio.gather(*edits, return_exceptions=True)
    assert sum(isinstance(result, Aborted) for result in results) == 7


async def test_what_has_shipped_cannot_come_back(shop: Shop) -> None:
    made = await shop.add(10)
    await shop.reserve("order-1", made.id, 4)
    assert [await shop.warehouse.ship("order-1") for _ in "ab"] == [True, False]
    assert not await shop.warehouse.release("order-1")
    assert ((await shop.get(made.id)).stock, (await shop.sums())[made.id]) == (6, (6, 0))
    assert (await shop.kinds(made.id))[1:] == [("reserve", -4, 4), ("ship", 0, -4)]


async def test_what_came_back_or_was_never_held_cannot_ship(shop: Shop) -> None:
    made = await shop.add(10)
    await shop.reserve("order-1", made.id, 4)
    await shop.warehouse.release("order-1")
    with pytest.raises(FailedPrecondition) as refused:
        await shop.warehouse.ship("order-1")
    assert refused.value.reason.reason == "KEY_RELEASED"
    with pytest.raises(NotFound):
        await shop.warehouse.ship("order-2")
    assert (await shop.sums())[made.id] == (10, 0)


async def test_releases_and_shipments_at_once_move_the_units_once(shop: Shop) -> None:
    made = await shop.add(100)
    for n in range(20):
        await shop.reserve(f"order-{n}", made.id, 5)
    ends = [do(f"order-{n}") for n in range(20) for do in (shop.warehouse.release, shop.warehouse.ship)]
    await asyncio.gather(*ends, return_exceptions=True)
    stock = (await shop.get(made.id)).stock
    assert (await shop.sums())[made.id] == (stock, 0)
    assert Counter(kind for kind, *_ in await shop.kinds(made.id))["reserve"] == 20


async def test_goods_that_come_in_are_received_once_per_key(shop: Shop) -> None:
    made = await shop.add(10)
    same = [shop.warehouse.adjust(ADMIN, made.id, 5, Kind.RECEIVE, "delivery 7", "k") for _ in range(8)]
    await asyncio.gather(*same)
    await shop.warehouse.adjust(ADMIN, made.id, -2, Kind.CORRECT, "broken", "")
    assert (await shop.kinds(made.id))[1:] == [("receive", 5, 0), ("correct", -2, 0)]
    assert (await shop.get(made.id)).stock == 13
    with pytest.raises(FailedPrecondition) as refused:
        await shop.warehouse.adjust(ADMIN, made.id, 6, Kind.RECEIVE, "delivery 7", "k")
    assert refused.value.reason.reason == "KEY_REUSED"
    other = Actor(3, ADMIN.roles)
    await shop.warehouse.adjust(other, made.id, 6, Kind.RECEIVE, "", "k")  # another admin's key


@pytest.mark.parametrize(("change", "kind"), [(-11, Kind.CORRECT), (INT32_MAX, Kind.RECEIVE)])
async def test_stock_stays_within_what_can_be_told(shop: Shop, change: int, kind: Kind) -> None:
    made = await shop.add(10)
    with pytest.raises(FailedPrecondition) as refused:
        await shop.warehouse.adjust(ADMIN, made.id, change, kind, "", "")
    assert refused.value.reason.reason == "STOCK_OUT_OF_RANGE"
    assert len(await shop.kinds(made.id)) == 1


async def test_only_an_admin_adjusts_and_sees_the_ledger(shop: Shop) -> None:
    with pytest.raises(PermissionDenied):
        await shop.warehouse.adjust(BOB, 1, 1, Kind.RECEIVE, "", "")
    with pytest.raises(PermissionDenied):
        await shop.warehouse.movements(BOB, 1, Listing("test"), pb.ListStockMovementsRequest())
    with pytest.raises(NotFound):
        await shop.warehouse.adjust(ADMIN, 9999, 1, Kind.RECEIVE, "", "")
    with pytest.raises(InvalidArgument) as refused:
        await shop.warehouse.adjust(ADMIN, 0, -1, Kind.RECEIVE, "n" * 501, "k" * 201)
    fields = [violation.field for violation in refused.value.violations]
    assert fields == ["product_id", "change", "note", "idempotency_key"]


async def test_the_ledger_of_a_deleted_product_comes_to_nothing(shop: Shop) -> None:
    made = await shop.add(10)
    await shop.reserve("order-1", made.id, 4)
    await shop.catalogue.delete(ADMIN, made.id)
    assert (await shop.sums())[made.id] == (0, 4)
    await shop.warehouse.release("order-1")
    assert (await shop.sums())[made.id] == (0, 0)


@pytest.mark.parametrize(
    ("kind", "stock", "held"),
    [
        ("seed", -1, 0),
        ("receive", 0, 0),
        ("reserve", -2, 1),
        ("release", 2, 0),
        ("ship", 1, -1),
        ("correct", 0, 0),
    ],
)
async def test_the_schema_refuses_a_movement_that_loses_units(
    shop: Shop, kind: str, stock: int, held: int
) -> None:
    row = {"product_id": 1, "kind": kind, "stock_change": stock, "held_change": held}
    wrong = sa.insert(movement).values(row | {"note": "", "user_id": 0, "at": 0})
    with pytest.raises(IntegrityError):
        await shop.db.write(lambda c: c.execute(wrong))


_KEYS = st.sampled_from("abc")
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), _KEYS, st.integers(1, 6)),
        st.tuples(st.sampled_from(["release", "ship"]), _KEYS, st.just(0)),
        st.tuples(st.sampled_from(["set", "echo", "named"]), st.just(""), st.integers(0, 20)),
        st.tuples(st.just("adjust"), _KEYS, st.integers(-8, 8)),
    ),
    max_size=12,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_whatever_happens_the_stock_is_the_ledgers_sum(
    shop: Shop, steps: Sequence[tuple[str, str, int]]
) -> None:
    read = await shop.add(10)
    for step, key, number in steps:
        with contextlib.suppress(MeshError):
            await _step(shop, read, step, f"{read.id}-{key}", number)
        stock = (await shop.get(read.id)).stock
        assert stock >= 0
        held = await _held(shop, read.id)
        assert (await shop.sums())[read.id] == (stock, held)


async def _step(shop: Shop, read: Product, step: str, key: str, number: int) -> None:
    match step:
        case "reserve":
            await shop.reserve(key, read.id, number)
        case "release":
            await shop.warehouse.release(key)
        case "ship":
            await shop.warehouse.ship(key)
        case "adjust":
            await shop.warehouse.adjust(ADMIN, read.id, number, Kind.CORRECT, "", key)
        case "echo":
            await shop.catalogue.update(ADMIN, read.id, Sent(read, price=float(number)))
        case _:
            mask = ["stock"] if step == "named" else []
            await shop.catalogue.update(ADMIN, read.id, Sent(read, stock=number), mask)


_HELD = """
    SELECT coalesce(sum(quantity), 0) FROM reservation_item AS i JOIN reservation AS r ON r.key = i.key
    WHERE i.product_id = :id AND NOT r.released AND r.entered <> 'ship'
"""


async def _held(shop: Shop, product_id: int) -> int:
    held = await shop.db.read(lambda c: c.scalar(sa.text(_HELD), {"id": product_id}))
    return int(held or 0)


@pytest.mark.parametrize(
    ("now", "wanted", "named", "lately", "stock"),
    [
        (5, None, False, (), 5),
        (5, 5, True, (), 5),
        (5, 9, False, (9, 5), 5),
        (5, 9, True, (9, 5), 9),
        (5, 8, False, (9, 5), 8),
        (INT32_MAX + 7, INT32_MAX, True, (), INT32_MAX + 7),
        (5, INT32_MAX, False, (INT32_MAX + 7,), 5),
    ],
)
def test_an_edit_sets_the_stock_or_leaves_it(
    now: int, wanted: int | None, named: bool, lately: Sequence[int], stock: int
) -> None:
    assert stock_of_edit(now, wanted, named, lately) == stock


#: As the version before the ledger wrote them: order-1 holds, order-2 was given back, order-3 holds of a
#: product that was deleted.
_OLD = """
    INSERT INTO reservation (key, released, created_at)
        VALUES ('order-1', false, 1), ('order-2', true, 1), ('order-3', false, 1);
    INSERT INTO reservation_item (key, position, product_id, quantity, name, price, category)
        VALUES ('order-1', 0, 1, 7, 'a', 1, 1), ('order-1', 1, 2, 1, 'b', 1, 1),
               ('order-1', 2, 1, 2, 'a', 1, 1), ('order-2', 0, 1, 5, 'a', 1, 1),
               ('order-3', 0, 99, 4, 'c', 1, 1)
"""
_PRODUCTS = """
    INSERT INTO product (id, name, description, price, stock, category, tags, search_text, created_at,
                         updated_at)
        VALUES (1, 'a', '', 1, 91, 1, '[]', 'a', 5, 6), (2, 'b', '', 1, 0, 1, '[]', 'b', 5, 5),
               (3, 'c', '', 1, 0, 1, '[]', 'c', 5, 5)
"""


async def _run(db: Database, script: str) -> None:
    for statement in script.split(";"):
        await db.write(lambda c, statement=statement: c.execute(sa.text(statement)))  # type: ignore[misc]


async def test_a_shop_without_a_ledger_gets_one_of_what_is_there(new_databases: Maker) -> None:
    url = new_databases().url("product")
    await migrate(url, "product", seed=False, revision="0001")
    async with Database.open(url, "product") as db:
        await _run(db, _PRODUCTS)
        await _run(db, _OLD)
        await migrate(url, "product")
        shop = Shop(db)
        assert await shop.sums() == {1: (100, 0), 2: (1, 0), 99: (4, 0)}
        # Before the rest of it is entered, orders go on.
        assert await shop.warehouse.ship("order-1")
        assert await shop.stock.adopt() == 1
        assert await shop.stock.adopt() == 0
        assert await shop.sums() == {1: (91, 0), 2: (0, 0), 99: (0, 4)}
        assert await shop.kinds(1) == [("seed", 100, 0), ("reserve", -9, 9), ("ship", 0, -9)]
        assert not await shop.warehouse.release("order-1")
        assert await shop.warehouse.release("order-3")
        assert (await shop.sums())[99] == (0, 0)
        assert [p.stock for p in (await shop.products.page(Category.UNSPECIFIED, Page())).items] == [91, 0, 0]


async def test_what_old_replicas_do_during_an_upgrade_is_entered_afterwards(shop: Shop) -> None:
    made, gone = await shop.add(100), await shop.add(3)
    await shop.reserve("order-1", made.id, 10)
    await shop.reserve("order-4", gone.id, 3)
    await shop.catalogue.delete(ADMIN, gone.id)
    item = f"VALUES ('order-{{}}', 0, {made.id}, {{}}, 'a', 1, 1)"
    columns = "(key, position, product_id, quantity, name, price, category)"
    await _run(
        shop.db,
        f"""
        INSERT INTO reservation (key, released, created_at)
            VALUES ('order-2', false, 1), ('order-3', true, 1);
        INSERT INTO reservation_item {columns} {item.format(2, 20)};
        INSERT INTO reservation_item {columns} {item.format(3, 30)};
        UPDATE product SET stock = stock - 20 WHERE id = {made.id};
        UPDATE reservation SET released = true WHERE key IN ('order-1', 'order-4');
        UPDATE product SET stock = stock + 10 WHERE id = {made.id}
        """,
    )
    assert await shop.stock.adopt() == 4
    assert (await shop.get(made.id)).stock == 80
    assert (await shop.sums())[made.id] == (80, 20)
    assert (await shop.sums())[gone.id] == (0, 0)
    shop.now += 1
    assert await shop.stock.forget(0) == 3


async def test_the_migrations_make_the_tables_that_the_code_speaks_of(shop: Shop) -> None:
    differences = await shop.db.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    named = {d[1].name for d in differences if not d[1].name.startswith("product_search")}  # of trigrams
    assert named <= {"alembic_version", "reservation_not_entered", "reservation_spent"}  # partial
