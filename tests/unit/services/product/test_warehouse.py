import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound
from services.product.domain import StockItem
from services.product.warehouse import Warehouse
from tests.unit.services.product.memory import Shelf, product


@pytest.fixture
def shelf() -> Shelf:
    return Shelf({1: product(1, stock=10), 2: product(2, stock=3)})


async def test_a_reservation_takes_stock_once_however_often_it_is_sent(shelf: Shelf) -> None:
    items = [StockItem(2, 1), StockItem(1, 4), StockItem(2, 1)]
    first = await Warehouse(shelf).reserve("k", items)
    assert await Warehouse(shelf).reserve("k", items) == first
    assert [i.product_id for i in first] == [2, 1, 2]
    assert [p.stock for p in shelf.products.values()] == [6, 1]


async def test_what_does_not_fit_as_a_whole_is_not_taken_at_all(shelf: Shelf) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await Warehouse(shelf).reserve("k", [StockItem(1, 4), StockItem(2, 2), StockItem(2, 2)])
    assert caught.value.reason.reason == "OUT_OF_STOCK"
    assert caught.value.reason.metadata == {"product_id": "2", "requested": "4", "available": "3"}
    assert [p.stock for p in shelf.products.values()] == [10, 3]
    assert len(await Warehouse(shelf).reserve("k", [StockItem(1, 4)])) == 1


async def test_a_product_that_is_not_there_is_named(shelf: Shelf) -> None:
    with pytest.raises(NotFound) as caught:
        await Warehouse(shelf).reserve("k", [StockItem(1, 4), StockItem(9, 1)])
    assert caught.value.name == "9"
    assert shelf.products[1].stock == 10


async def test_a_key_belongs_to_its_items(shelf: Shelf) -> None:
    await Warehouse(shelf).reserve("k", [StockItem(1, 4)])
    with pytest.raises(FailedPrecondition) as caught:
        await Warehouse(shelf).reserve("k", [StockItem(1, 5)])
    assert caught.value.reason.reason == "KEY_REUSED"


async def test_a_release_gives_back_once_and_spends_the_key(shelf: Shelf) -> None:
    warehouse = Warehouse(shelf)
    await warehouse.reserve("k", [StockItem(1, 4)])
    assert [await warehouse.release("k"), await warehouse.release("k")] == [True, False]
    assert shelf.products[1].stock == 10
    with pytest.raises(FailedPrecondition) as caught:
        await warehouse.reserve("k", [StockItem(1, 4)])
    assert caught.value.reason.reason == "KEY_RELEASED"


async def test_a_release_that_overtakes_its_reservation_wins(shelf: Shelf) -> None:
    assert await Warehouse(shelf).release("k") is False
    with pytest.raises(FailedPrecondition):
        await Warehouse(shelf).reserve("k", [StockItem(1, 4)])
    assert shelf.products[1].stock == 10


async def test_a_deleted_product_is_passed_over_by_a_release(shelf: Shelf) -> None:
    await Warehouse(shelf).reserve("k", [StockItem(1, 4), StockItem(2, 1)])
    del shelf.products[1]
    assert await Warehouse(shelf).release("k") is True
    assert shelf.products[2].stock == 3


@pytest.mark.parametrize(
    ("key", "items", "fields"),
    [
        ("", [StockItem(1, 1)], ["key"]),
        ("k" * 201, [StockItem(1, 1)], ["key"]),
        ("k", [], ["items"]),
        ("k", [StockItem(0, 1), StockItem(1, 0)], ["items[0].product_id", "items[1].quantity"]),
        ("k", [StockItem(1, 1)] * 101, ["items"]),
    ],
)
async def test_each_wrong_field_of_a_reservation_is_named(
    shelf: Shelf, key: str, items: list[StockItem], fields: list[str]
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await Warehouse(shelf).reserve(key, items)
    assert [v.field for v in caught.value.violations] == fields


_ITEMS = st.lists(st.builds(StockItem, st.integers(1, 3), st.integers(1, 6)), min_size=1, max_size=3)
_STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.none() | _ITEMS), max_size=20)


@given(_STEPS)
def test_stock_and_what_is_held_always_add_up(steps: list[tuple[str, list[StockItem] | None]]) -> None:
    shelf = Shelf({1: product(1, stock=10), 2: product(2, stock=3)})

    async def play() -> None:
        for key, items in steps:
            step: Any = Warehouse(shelf).reserve(key, items) if items else Warehouse(shelf).release(key)
            with contextlib.suppress(MeshError):
                await step
            held = [i for r in shelf.reservations.values() if not r.released for i in r.items]
            for product_id, total in ((1, 10), (2, 3)):
                stock = shelf.products[product_id].stock
                assert stock >= 0
                assert stock + sum(i.quantity for i in held if i.product_id == product_id) == total

    asyncio.run(play())
