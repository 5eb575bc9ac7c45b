"""Stock is the sum of a ledger, whatever orders and admins do, on both databases."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ecommerce import product_pb2 as pb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from grpcmesh.errors import (
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
from services.product.domain import Category, Product
from services.product.ledger import Kind
from services.product.tables import metadata, movement
from tests.databases import Maker

from .ledgerkit import ADMIN, BOB, Sent, Shop


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
