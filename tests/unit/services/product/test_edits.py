"""Edits of products: what they do to a stock that orders move meanwhile."""

import asyncio
from collections.abc import Sequence

import pytest

from grpcmesh.errors import (
    Aborted,
    InvalidArgument,
)
from services.kit.paging import Page
from services.kit.validation import INT32_MAX
from services.product.ledger import Kind, stock_of_edit
from services.product.stock import ECHO_WINDOW

from .ledgerkit import ADMIN, Sent, Shop


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
