import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.errors import FailedPrecondition
from services.analytics import figures as module
from services.analytics.domain import METRICS, RETENTION, SKEW, Event, Kind, Metric, Place, Sales, tally
from services.analytics.figures import Figures
from services.analytics.storage import SqlStore
from services.kit.background import repeating
from services.kit.db import Database
from tests.databases import Maker

#: 2026-01-01, the start of a minute.
NOW = 1_767_225_600.0
MINUTE = int(NOW)


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Shop:
    """Two replicas with connections of their own."""

    one: Figures
    two: Figures
    store: SqlStore
    clock: Clock


@pytest.fixture
async def shop(new_databases: Maker) -> AsyncIterator[Shop]:
    url = new_databases("analytics").url("analytics")
    clock = Clock()
    async with AsyncExitStack() as stack:
        stores = [
            SqlStore(await stack.enter_async_context(Database.open(url, "analytics", lock_timeout=60)))
            for _ in range(2)
        ]
        yield Shop(Figures(stores[0], clock), Figures(stores[1], clock), stores[1], clock)


def _line(order: int, line: int, cents: int, at: float = NOW, product: int = 1, units: int = 1) -> Event:
    return Event(f"order-{order}-2-{line}", Kind.ORDER_PLACED, at, product, order, units, cents)


def _view(number: int, at: float = NOW) -> Event:
    return Event(f"view-{number}", Kind.PRODUCT_VIEWED, at, product_id=1)


async def _series(figures: Figures, name: str) -> list[int]:
    return [m.value for m in await figures.series(name, MINUTE, MINUTE + 600)]


def test_an_order_of_three_lines_is_one_order_and_the_sum_of_its_lines() -> None:
    lines = [
        _line(1, 0, 1050, units=2),
        _line(1, 1, 250, product=2),
        _line(1, 2, 999, product=3, at=NOW + 59.9),
    ]
    added = tally(lines, {1})
    assert added[Place("orders", MINUTE)] == 1
    assert added[Place("revenue", MINUTE)] == 2299
    assert (added[Place("product_units", MINUTE, 1)], added[Place("product_revenue", MINUTE, 1)]) == (2, 1050)
    assert Place("orders", MINUTE) not in tally(lines, set())


def test_each_kind_of_event_adds_to_its_figure() -> None:
    for kind, name, value in [
        (Kind.PRODUCT_VIEWED, "product_views", 1),
        (Kind.PRODUCT_SEARCHED, "searches", 1),
        (Kind.CART_CHANGED, "cart_changes", 1),
        (Kind.ORDER_CANCELLED, "orders_cancelled", 1),
        (Kind.PAYMENT_MADE, "payments", 700),
        (Kind.PAYMENT_REFUNDED, "refunds", 700),
    ]:
        assert tally([Event("e", kind, NOW + 60, order_id=1, amount=700)], set()) == {
            Place(name, MINUTE + 60): value
        }
    assert tally([replace(_line(0, 0, 5), product_id=0)] * 2, set()) == {
        Place("orders", MINUTE): 2,
        Place("revenue", MINUTE): 10,
    }


@given(
    st.lists(
        st.builds(
            _line, st.integers(1, 4), st.integers(0, 9), st.integers(0, 10**9), product=st.integers(1, 3)
        )
    )
)
def test_products_add_up_to_the_whole(lines: list[Event]) -> None:
    added = tally(lines, {line.order_id for line in lines})
    by_product = sum(v for place, v in added.items() if place.name == "product_revenue")
    assert by_product == added.get(Place("revenue", MINUTE), 0) == sum(line.amount for line in lines)
    assert added.get(Place("orders", MINUTE), 0) == len({line.order_id for line in lines})


async def test_an_event_is_counted_once_whoever_hears_of_it_and_how_often(shop: Shop) -> None:
    lines = [_line(1, 0, 100), _line(1, 1, 50, product=2)]
    accepted = await asyncio.gather(
        *(figures.record(lines) for _ in range(10) for figures in (shop.one, shop.two)),
        *(figures.record([line]) for line in lines for figures in (shop.one, shop.two)),
        shop.one.record(lines * 3),
    )
    assert sum(accepted) == 2
    assert await _series(shop.two, "orders") == [1]
    assert await _series(shop.two, "revenue") == [150]
    assert await shop.one.record([]) == 0


async def test_the_lines_of_an_order_may_come_apart(shop: Shop) -> None:
    await shop.one.record([_line(1, 0, 100)])
    await shop.two.record([_line(1, 1, 50, at=NOW + 61), _line(2, 0, 7, at=NOW + 61)])
    assert await _series(shop.two, "orders") == [1, 1]
    assert await _series(shop.two, "revenue") == [100, 57]


async def test_a_dashboard_sums_what_it_shows(shop: Shop) -> None:
    await shop.one.record([_line(1, 0, 1000, product=5, units=3), _line(2, 0, 1500, product=6)])
    await shop.one.record([_line(3, 0, 900, product=5, at=NOW - 61)])
    await shop.one.record([_line(4, 0, 77, product=7, at=NOW - 600)])
    await shop.one.record([_view(n, NOW - 20 * n) for n in range(6)])
    board = await shop.two.dashboard(5)
    assert board.totals == {"orders": 3, "revenue": 3400, "product_views": 6}
    assert board.conversion == 0.5
    assert board.top == [Sales(5, 4, 1900), Sales(6, 1, 1500)]
    assert [m.value for m in board.by_minute if m.place.name == "revenue"] == [900, 2500]
    assert (await shop.two.dashboard(20)).totals["orders"] == 4
    empty = await Figures(shop.store, Clock(NOW + 86400)).dashboard(5)
    assert (empty.totals, empty.conversion, empty.top) == ({}, 0.0, [])


async def test_cursors_are_gapless_in_the_order_of_commits_under_concurrent_writers(shop: Shop) -> None:
    seen: dict[Place, int] = {}
    cursors = list[int]()

    async def follow() -> None:
        async with aclosing(shop.two.follow(METRICS, 0)) as changes:
            async for metric in changes:
                seen[metric.place] = metric.value
                cursors.append(metric.cursor)
                if metric.place.name == "searches":
                    return

    writers = [
        figures.record([_line(n, 0, n, at=NOW + n % 3 * 60), _view(n)])
        for n, figures in enumerate([shop.one, shop.two] * 30, 1)
    ]
    async with asyncio.timeout(60), repeating(shop.two.look, 0.01, "look"), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await asyncio.gather(*writers)
        await shop.one.record([Event("last", Kind.PRODUCT_SEARCHED, NOW)])
    assert cursors == sorted(set(cursors))
    assert cursors[-1] == await shop.one.latest() == 60 * 5 + 1  # five figures an event pair, one at the end
    assert seen[Place("product_views", MINUTE)] == 60
    assert sum(v for place, v in seen.items() if place.name == "revenue") == sum(range(61))
    assert sum(v for place, v in seen.items() if place.name == "orders") == 60


async def test_a_stream_of_some_metrics_leaves_out_the_others_and_resumes(shop: Shop) -> None:
    await shop.one.record([_line(1, 0, 100), _view(1)])
    got = list[Metric]()
    async with aclosing(shop.two.follow(["revenue", "product_views"], 0)) as changes:
        got += [await anext(changes), await anext(changes)]
    assert {m.place.name: m.value for m in got} == {"revenue": 100, "product_views": 1}
    await shop.one.record([_line(2, 0, 50)])
    async with aclosing(shop.two.follow(["revenue", "product_views"], got[-1].cursor)) as changes:
        assert (await anext(changes)).value == 150


async def test_more_figures_than_an_answer_holds_are_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_POINTS", 2)
    await shop.one.record([_line(1, n, 1, product=n + 1) for n in range(3)])
    with pytest.raises(FailedPrecondition):
        await shop.one.series("product_units", MINUTE, MINUTE + 60)
    assert len(await shop.one.series("revenue", MINUTE, MINUTE + 60)) == 1


async def test_what_is_too_old_is_forgotten_and_the_rest_kept(shop: Shop) -> None:
    await shop.one.record([_view(1), _line(1, 0, 5)])
    await shop.one.record([_view(2, NOW + 90)])
    shop.clock.now += RETENTION + SKEW + 60
    await shop.one.forget()
    assert await _series(shop.two, "product_views") == [1]
    assert await _series(shop.two, "orders") == []
    assert await shop.one.record([_view(2, NOW + 90)]) == 0
