import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from ecommerce import analytics_pb2 as pb
from ecommerce.analytics_pb2_grpc import AnalyticsServiceStub, add_AnalyticsServiceServicer_to_server
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpcmesh.server.server import MeshServer
from services.analytics.domain import METRICS
from services.analytics.figures import Figures
from services.analytics.servicer import AnalyticsServicer
from services.analytics.storage import CHANNEL, SqlStore
from services.kit.db import Database
from services.kit.following import following
from tests.databases import Maker

from .replicakit import Fleet, eventually, fleet, resumed
from .shopkit import messages, refused

Code = grpc.StatusCode
#: 2026-01-01, the start of a minute.
NOW = 1_767_225_600
VIEWED, PLACED, SEARCHED = (
    pb.EVENT_KIND_PRODUCT_VIEWED,
    pb.EVENT_KIND_ORDER_PLACED,
    pb.EVENT_KIND_PRODUCT_SEARCHED,
)


#: The shop's own code tells events in batches. The servicer's rules are the same for one event at a time.
SINGLE_EVENTS = """
[[allow]]
from = ["order", "storefront", "loadgen"]
methods = ["ecommerce.AnalyticsService/TrackEvent", "ecommerce.AnalyticsService/TrackEvents"]
"""


@pytest.fixture
async def analytics(new_databases: Maker, tmp_path: Path) -> AsyncIterator[Fleet]:
    url = new_databases("analytics").url("analytics")

    async def make(resources: AsyncExitStack, server: MeshServer) -> None:
        db = await resources.enter_async_context(Database.open(url, "analytics"))
        figures = Figures(SqlStore(db), lambda: NOW)
        add_AnalyticsServiceServicer_to_server(AnalyticsServicer(figures, lambda: NOW), server)
        await resources.enter_async_context(following(db, CHANNEL, figures, str))

    async with fleet("analytics", tmp_path, make, policy=SINGLE_EVENTS) as made:
        yield made


@dataclass
class Office:
    """The order service, which tells, and an admin, who reads, each at a replica of its own."""

    order: AnalyticsServiceStub
    admin: AnalyticsServiceStub
    metadata: Any


@pytest.fixture
def office(analytics: Fleet) -> Office:
    return Office(
        AnalyticsServiceStub(analytics.channel(analytics.replicas[:1], "order")),
        AnalyticsServiceStub(analytics.channel(analytics.replicas[1:])),
        analytics.token(1, "alice", "admin"),
    )


def _view(number: int, **more: Any) -> pb.EventRequest:
    return pb.EventRequest(event_id=f"view-{number}", kind=VIEWED, product_id=1, **more)


def _line(order: int, line: int = 0, amount: float = 10.5) -> pb.EventRequest:
    event_id = f"order-{order}-2-{line}"
    return pb.EventRequest(
        event_id=event_id, kind=PLACED, order_id=order, product_id=line + 1, quantity=2, amount=amount
    )


async def test_what_is_told_at_one_replica_is_read_at_another(office: Office) -> None:
    told = [_line(1), _line(1, 1, 0.25), _line(2), *(_view(n) for n in range(4))]
    assert (await office.order.TrackEvents(iter(told))).accepted == 7
    assert (await office.order.TrackEvent(_line(1))).accepted == 0
    board = await office.admin.GetDashboard(pb.DashboardRequest(), metadata=office.metadata)
    assert (board.orders, board.revenue, board.conversion) == (2, 21.25, 0.5)
    assert [(t.product_id, t.quantity, t.revenue) for t in board.top_products] == [(1, 4, 21.0), (2, 2, 0.25)]
    assert {(m.name, m.value, m.timestamp.seconds) for m in board.by_minute} == {
        ("orders", 2.0, NOW),
        ("revenue", 21.25, NOW),
        ("product_views", 4.0, NOW),
    }
    request = pb.GetMetricsRequest(name="product_revenue")
    found = (await office.admin.GetMetrics(request, metadata=office.metadata)).metrics
    assert [(dict(m.labels), m.value) for m in found] == [
        ({"product_id": "1"}, 21.0),
        ({"product_id": "2"}, 0.25),
    ]


async def test_metrics_are_read_by_any_range_of_minutes(office: Office) -> None:
    await office.order.TrackEvents(
        iter([_view(n, timestamp=Timestamp(seconds=NOW - 60 * n)) for n in range(10)])
    )

    async def minutes(**bounds: int) -> list[int]:
        stamps = {name: Timestamp(seconds=second) for name, second in bounds.items()}
        request = pb.GetMetricsRequest(name="product_views", **stamps)
        found = (await office.admin.GetMetrics(request, metadata=office.metadata)).metrics
        return [(m.timestamp.seconds - NOW) // 60 for m in found]

    assert await minutes() == list(range(-9, 1))
    assert await minutes(start=NOW - 120, end=NOW) == [-2, -1]
    assert await minutes(start=NOW - 119, end=NOW + 1) == [-2, -1, 0]
    assert await minutes(start=NOW, end=NOW) == []


async def test_a_thousand_events_of_one_stream_are_counted_in_batches(office: Office) -> None:
    told = [_view(n % 1100) for n in range(1200)]
    assert (await office.order.TrackEvents(iter(told), timeout=30)).accepted == 1100


async def test_a_stream_follows_the_metrics_it_names_and_resumes(office: Office) -> None:
    await office.order.TrackEvent(_view(0))

    async def follow(after: int = 0, *names: str) -> Any:
        request = pb.StreamMetricsRequest(names=names, after_cursor=after)
        call = office.admin.StreamMetrics(request, metadata=office.metadata, timeout=30)
        await call.initial_metadata()
        return call

    stream = await follow(0, "product_views", "orders")
    await office.order.TrackEvents(iter([_line(1), _view(1)]))
    seen = [await stream.read(), await stream.read()]
    assert [(m.name, m.value) for m in seen] == [("orders", 1.0), ("product_views", 2.0)]
    stream.cancel()
    await office.order.TrackEvent(_line(2))
    stream = await follow(seen[-1].cursor)
    assert {(await stream.read()).name for _ in range(4)} == {
        "orders",
        "revenue",
        "product_units",
        "product_revenue",
    }
    stream.cancel()


async def test_a_stream_survives_a_rolling_restart_with_nothing_lost_or_doubled(analytics: Fleet) -> None:
    admin, order = (
        AnalyticsServiceStub(analytics.channel()),
        AnalyticsServiceStub(analytics.channel(workload="order")),
    )
    metadata, total, seen = analytics.token(1, "alice", "admin"), 120, list[pb.Metric]()

    def follow(after: int) -> Any:
        request = pb.StreamMetricsRequest(names=["searches"], after_cursor=after)
        return admin.StreamMetrics(request, metadata=metadata, timeout=60)

    def event(number: int) -> pb.EventRequest:
        # A minute each, so that no change replaces another.
        at = Timestamp(seconds=NOW - 60 * number)
        return pb.EventRequest(event_id=f"e-{number}", kind=SEARCHED, timestamp=at)

    replaced = asyncio.Event()

    async def tell() -> None:
        for number in range(1, total + 1):
            if number == total - 20:
                await replaced.wait()  # the follower has not seen all before its replica leaves
            while True:
                try:
                    await order.TrackEvents(iter([event(number), event(number)]), timeout=10)
                    break
                except grpc.aio.AioRpcError as e:
                    if e.code() not in (Code.UNAVAILABLE, Code.CANCELLED):
                        raise
            await asyncio.sleep(0.01)

    await order.TrackEvents(iter([event(0)]))
    async with asyncio.timeout(150), asyncio.TaskGroup() as group:
        following = group.create_task(resumed(follow, seen, total, 1))
        group.create_task(tell())

        async def hears() -> bool:
            return bool(seen)

        await eventually(hears)  # from a replica that will leave
        for old in list(analytics.replicas):
            await asyncio.sleep(0.4)
            await analytics.start()
            await analytics.leave(old)
        replaced.set()
    assert [m.cursor for m in seen] == list(range(2, total + 2))
    assert [m.timestamp.seconds for m in seen] == [NOW - 60 * n for n in range(1, total + 1)]
    assert all(m.value == 1 for m in seen)
    assert following.result()  # it did have to resume


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        (pb.EventRequest(), {"event_id", "kind"}),
        (_view(1, user_id=-1, order_id=-1, quantity=-1), {"user_id", "order_id", "quantity"}),
        (pb.EventRequest(event_id="e", kind=VIEWED), {"product_id"}),
        (pb.EventRequest(event_id="e", kind=VIEWED, product_id=-1), {"product_id"}),
        (pb.EventRequest(event_id="e", kind=99, product_id=1), {"kind"}),  # type: ignore[arg-type]
        (_view(1, amount=0.001), {"amount"}),
        (_view(1, amount=float("nan")), {"amount"}),
        (_view(1, amount=-1), {"amount"}),
        (_view(1, amount=1e9), {"amount"}),
        (_view(1, timestamp=Timestamp(seconds=NOW + 301)), {"timestamp"}),
        (_view(1, timestamp=Timestamp(seconds=NOW - 31 * 86400)), {"timestamp"}),
        (pb.EventRequest(event_id="e\0", kind=SEARCHED), {"event_id"}),
        (pb.EventRequest(event_id="e" * 101, kind=SEARCHED), {"event_id"}),
    ],
)
async def test_every_wrong_field_of_an_event_is_named(
    office: Office, event: pb.EventRequest, fields: set[str]
) -> None:
    refusal = await refused(office.order.TrackEvent(event))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, frozenset(fields))
    refusal = await refused(office.order.TrackEvents(iter([_view(7), event])))
    assert (refusal.code, refusal.fields) == (
        Code.INVALID_ARGUMENT,
        frozenset({f"requests[1].{field}" for field in fields}),
    )
    assert (await office.order.TrackEvent(_view(7))).accepted == 1  # nothing of that batch was counted


def _questions() -> Iterator[tuple[str, Any, set[str]]]:
    def stamp(seconds: int) -> Timestamp:
        return Timestamp(seconds=seconds)

    yield "GetMetrics", pb.GetMetricsRequest(), {"name"}
    yield "GetMetrics", pb.GetMetricsRequest(name="orders", start=stamp(NOW), end=stamp(NOW - 1)), {"end"}
    yield "GetMetrics", pb.GetMetricsRequest(name="x", start=stamp(NOW - 8 * 86400)), {"name", "end"}
    far = pb.GetMetricsRequest(name="orders", start=stamp(-1), end=stamp(2**60))
    yield "GetMetrics", far, {"start", "end"}
    yield (
        "StreamMetrics",
        pb.StreamMetricsRequest(names=["orders", "x"], after_cursor=-1),
        {"names[1]", "after_cursor"},
    )
    yield "StreamMetrics", pb.StreamMetricsRequest(names=["orders"] * (len(METRICS) + 1)), {"names"}
    yield "GetDashboard", pb.DashboardRequest(minutes=-1), {"minutes"}
    yield "GetDashboard", pb.DashboardRequest(minutes=1441), {"minutes"}


@pytest.mark.parametrize(("method", "request_", "fields"), list(_questions()))
async def test_every_wrong_question_is_refused_by_its_field(
    office: Office, method: str, request_: Any, fields: set[str]
) -> None:
    refusal = await refused(getattr(office.admin, method)(request_, metadata=office.metadata))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, frozenset(fields))


async def test_figures_are_for_admins(analytics: Fleet, office: Office) -> None:
    bob = analytics.token(2, "bob")
    for method, request, _ in _questions():
        call = getattr(office.admin, method)
        assert (await refused(call(request, metadata=bob))).code is Code.PERMISSION_DENIED
        assert (await refused(call(request))).code is Code.UNAUTHENTICATED


async def test_who_may_tell_what(analytics: Fleet, office: Office) -> None:
    bob = analytics.token(2, "bob")
    for workload in ("storefront", "loadgen"):
        stub = AnalyticsServiceStub(analytics.channel(workload=workload))
        assert (await stub.TrackEvent(_view(1, user_id=2), metadata=bob)).accepted in (0, 1)
        for call in (stub.TrackEvent(_line(1)), stub.TrackEvents(iter([_line(1)]))):
            assert (await refused(call)).reason == "WORKLOAD_NOT_ALLOWED"
        other = await refused(stub.TrackEvent(_view(2, user_id=3), metadata=bob))
        assert (other.code, other.reason) == (Code.PERMISSION_DENIED, "NOT_YOURS")
    product = AnalyticsServiceStub(analytics.channel(workload="product"))
    assert (await refused(product.TrackEvent(_view(3)))).code is Code.PERMISSION_DENIED
    denied = office.order.GetDashboard(pb.DashboardRequest(), metadata=office.metadata)
    assert (await refused(denied)).code is Code.PERMISSION_DENIED


_METHODS = {
    "TrackEvent": pb.EventRequest,
    "TrackEvents": pb.EventRequest,
    "GetMetrics": pb.GetMetricsRequest,
    "StreamMetrics": pb.StreamMetricsRequest,
    "GetDashboard": pb.DashboardRequest,
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(
    analytics: Fleet, office: Office, method: str
) -> None:
    loop, stub = asyncio.get_running_loop(), AnalyticsServiceStub(analytics.channel())

    async def call(requests: list[Any]) -> None:
        timeout = 0.1 if method == "StreamMetrics" else 10
        request: Any = iter(requests) if method == "TrackEvents" else requests[0]
        pending: Any = getattr(stub, method)(request, metadata=office.metadata, timeout=timeout)
        try:
            if hasattr(pending, "__aiter__"):
                async for _ in pending:
                    pass
            else:
                await pending
        except grpc.aio.AioRpcError as e:
            if e.code() in (Code.UNKNOWN, Code.INTERNAL):
                raise

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests=st.lists(messages(_METHODS[method]), min_size=1, max_size=3))
    def check(requests: list[Any]) -> None:
        asyncio.run_coroutine_threadsafe(call(requests), loop).result(20)

    await asyncio.to_thread(check)
