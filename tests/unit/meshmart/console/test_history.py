"""Fifteen minutes of figures in bounded memory."""

import pytest

from meshmart.console import history
from meshmart.console.history import POINTS, SLACK, STEP, History
from meshmart.console.model import EdgeView, ReplicaView, ServiceView, Snapshot, State, Traffic

START = 1_800_000_000.0


def snapshot(at: float, rate: float, *names: str) -> Snapshot:
    traffic = Traffic(rate, rate / 10, None if rate == 0 else 0.5)
    services = tuple(
        ServiceView(n, (ReplicaView(1, f"{n}-1", "", State.READY, traffic=traffic),), traffic) for n in names
    )
    return Snapshot(at, services, (EdgeView("order", "product", traffic),))


def filled(steps: int) -> History:
    made = History()
    for i in range(steps):
        made.add(snapshot(START + i * STEP, float(i), "product"))
    return made


@pytest.mark.parametrize("name", [("product",), ("product", "product-1"), ("edge", "order", "product")])
def test_every_service_replica_and_edge_has_its_points(name: tuple[str, ...]) -> None:
    points = filled(3).read(name)
    assert points is not None
    assert len(points) == POINTS
    assert points[-1] == pytest.approx((2.0, 0.2, 0.5))
    assert points[-3] == (0.0, 0.0, None)
    assert points[-4] == (None, None, None)


def test_the_oldest_points_make_room() -> None:
    points = filled(POINTS + 50).read(("product",))
    assert points is not None
    assert [p[0] for p in points] == [float(i) for i in range(50, POINTS + 50)]


def test_a_gap_stays_a_gap() -> None:
    made = filled(3)
    made.add(snapshot(START + 6 * STEP, 9.0, "product"))
    points = made.read(("product",))
    assert points is not None
    assert [p[0] for p in points[-7:]] == [0.0, 1.0, 2.0, None, None, None, 9.0]


def test_a_gap_longer_than_the_history_leaves_nothing_old() -> None:
    made = filled(POINTS)
    made.add(snapshot(START + 3 * POINTS * STEP, 9.0, "product"))
    points = made.read(("product",))
    assert points is not None
    assert [p[0] for p in points if p[0] is not None] == [9.0]


def test_what_has_gone_is_forgotten_after_fifteen_minutes() -> None:
    made = filled(2)
    for i in range(2, POINTS + 1):
        made.add(snapshot(START + i * STEP, 1.0, "order"))
    points = made.read(("product",))
    assert points is not None
    assert points[0][0] == 1.0
    made.add(snapshot(START + (POINTS + 1) * STEP, 1.0, "order"))
    assert made.read(("product",)) is None
    assert made.read(("order",)) is not None


def test_a_clock_that_is_set_back_begins_anew() -> None:
    made = filled(10)
    made.add(snapshot(START - 3600, 4.0, "product"))
    points = made.read(("product",))
    assert points is not None
    assert [p[0] for p in points if p[0] is not None] == [4.0]


def test_a_clock_that_is_set_back_a_little_loses_nothing() -> None:
    made = filled(10)
    before = made.read(("product",))
    for steps in (1, SLACK - 1):
        made.add(snapshot(made.until - STEP * steps, 4.0, "product"))
    assert made.read(("product",)) == before


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_SERIES", 5)
    made = History()
    made.add(snapshot(START, 1.0, *(f"s{i}" for i in range(100))))
    assert len(made._series) == 5
