"""The killer, and what it looks for afterwards; and what was seen of streams."""

import asyncio
import random
from typing import Any

import grpc
from ecommerce import order_pb2

from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError
from meshmart.books.model import Books, Order
from meshmart.chaos import Killer, OrderRun, victims
from meshmart.cluster import Replica
from meshmart.tour.following import Watcher, ended
from services.loadgen.persistent import Asked
from tests.unit.services.loadgen.fakes import FakeCall, failure


class FakeCluster:
    """Two replicas of each service, the second one not ready."""

    def __init__(self, *services: str) -> None:
        self.services = services
        self.killed: list[tuple[str, int]] = []

    async def endpoints(self, service: str) -> list[Replica]:
        if service not in self.services:
            raise ClusterError(f"there is no service {service!r}")
        return [self._replica(service, n) for n in (1, 2)]

    def _replica(self, service: str, number: int) -> Replica:
        return Replica(
            id=number,
            name=f"{service}-{number}",
            host="127.0.1.1",
            port=50051,
            server_name=service,
            incarnation=str(100 + number),
            ready=number == 1,
            restarts=0,
            metrics="",
        )

    async def kill(self, service: str, replica: int) -> None:
        self.killed.append((service, replica))


def test_the_killer_takes_ready_replicas_of_any_service_about_as_often_as_it_is_told() -> None:
    cluster: Any = FakeCluster("product", "order")

    async def run() -> Killer:
        async with Killer(cluster, ["product", "order"], 2.0, random.Random(1)) as killer:
            await asyncio.sleep(200)
        return killer

    killer = run_in_virtual_time(run())
    assert 80 <= killer.kills.total() <= 120
    assert set(cluster.killed) == {("product", 1), ("order", 1)}


def test_the_killer_visits_every_service_before_any_a_second_time() -> None:
    services = ["product", "order", "payment", "chat"]
    cluster: Any = FakeCluster(*services)

    async def run() -> None:
        async with Killer(cluster, services, 2.0, random.Random(1)):
            await asyncio.sleep(100)

    run_in_virtual_time(run())
    visited = [service for service, _ in cluster.killed]
    rounds = [visited[start : start + 4] for start in range(0, len(visited) - 3, 4)]
    assert len(rounds) >= 8
    assert all(set(each) == set(services) for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1


def test_the_killer_has_a_limit() -> None:
    cluster: Any = FakeCluster("product", "order")

    async def run() -> None:
        async with Killer(cluster, ["product", "order"], 2.0, random.Random(1), limit=3):
            await asyncio.sleep(100)

    run_in_virtual_time(run())
    assert len(cluster.killed) == 3


def test_services_that_the_cluster_lacks_are_no_victims() -> None:
    cluster: Any = FakeCluster("product")
    assert asyncio.run(victims(cluster, ["product", "chat"])) == ["product"]


def order(number: int, key: str | None, status: str = "CONFIRMED", created_at: float = 0.0) -> Order:
    return Order(number, key, status, created_at, 500, status == "CONFIRMED")


def test_an_accepted_order_is_in_the_books_once_and_a_refused_one_is_not() -> None:
    run = OrderRun(
        5,
        [
            Asked("good", 1, "CONFIRMED", 2),
            Asked("lost", 2, "CONFIRMED", 1),
            Asked("doubled", 4, "CONFIRMED", 2),
            Asked("refused", 0, "FAILED_PRECONDITION", 1),
            Asked("taken", 0, "FAILED_PRECONDITION", 1),
        ],
    )
    books = Books(
        orders=(
            order(1, "good"),
            order(2, "lost", "CANCELLED"),
            order(3, "doubled-1"),
            order(4, "doubled-2"),
            order(5, "taken"),
            order(6, "somebody else's"),
        )
    )
    assert [line.partition(":")[0] for line in run.astray(books)] == ["lost", "doubled", "taken"]
    assert len(run.accepted) == 3


def test_an_order_that_was_charged_another_total_than_was_shown_is_astray() -> None:
    run = OrderRun(
        3,
        [
            Asked("as shown", 1, "CONFIRMED", 1, shown=500),
            Asked("dearer", 2, "CONFIRMED", 1, shown=499),
            Asked("agreed to", 3, "CONFIRMED", 2, shown=500, changed=1),
        ],
    )
    books = Books(orders=(order(1, "as shown"), order(2, "dearer"), order(3, "agreed to+1")))
    assert run.astray(books) == ["dearer: 499 cents were shown, 500 charged"]


def test_an_order_is_asked_for_in_vain_if_an_earlier_attempt_had_placed_it() -> None:
    run = OrderRun(
        5,
        [
            Asked("at once", 1, "CONFIRMED", 1, last_asked=100.0),
            Asked("by key", 2, "CONFIRMED", 2, last_asked=100.0),
            Asked("without", 4, "CONFIRMED", 2, last_asked=100.0),
            Asked("cut too early", 5, "CONFIRMED", 2, last_asked=100.0),
            Asked("called off", 7, "CONFIRMED", 2, last_asked=100.0),
        ],
    )
    books = Books(
        orders=(
            order(1, "at once", created_at=100.1),
            order(2, "by key", created_at=99.0),
            order(3, "without-1", created_at=99.0),
            order(4, "without-2", created_at=100.1),
            order(5, "cut too early", created_at=100.1),
            order(6, "called off-1", "CANCELLED", created_at=99.0),
            order(7, "called off-2", created_at=100.1),
        )
    )
    assert [asked.key for asked in run.in_vain(books)] == ["by key", "without"]


def test_a_watcher_tells_what_was_lost_and_what_was_doubled() -> None:
    cut = failure(grpc.StatusCode.UNAVAILABLE)
    updates = [order_pb2.OrderUpdate(cursor=c) for c in range(10)]
    answers = [[updates[2], updates[3], cut], [updates[3], updates[5]]]
    opened: list[int] = []

    def open_after(cursor: int) -> Any:
        opened.append(cursor)
        return FakeCall(answers.pop(0))

    async def run() -> Watcher:
        async with asyncio.TaskGroup() as group:
            watcher = Watcher(group, open_after, 1, by_cursor=True, enough=lambda u: u.cursor == 5)
            await ended([watcher], 10)
        return watcher

    watcher = asyncio.run(run())
    assert opened == [1, 3]
    assert (watcher.resumed, watcher.doubled, watcher.problem) == (1, 1, "")
    assert watcher.lost({1, 2, 3, 4, 5}) == 1


def test_without_cursors_a_stream_is_opened_from_now_on() -> None:
    opened: list[int] = []
    answers = [[failure(grpc.StatusCode.UNAVAILABLE)], []]

    def open_after(cursor: int) -> Any:
        opened.append(cursor)
        return FakeCall(answers.pop(0))

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            watcher = Watcher(group, open_after, 7, by_cursor=False, enough=lambda _: False)
            await ended([watcher], 10)

    asyncio.run(run())
    assert opened == [7, 0]


def test_a_stream_that_fails_is_told_and_one_that_says_nothing_is_given_up() -> None:
    class Silent(FakeCall):
        async def __aiter__(self) -> Any:
            await asyncio.Event().wait()
            yield

    async def run() -> list[Watcher]:
        async with asyncio.TaskGroup() as group:
            watchers = [
                Watcher(group, lambda _, c=call: c, 0, by_cursor=True, enough=lambda _: False)  # type: ignore[misc]
                for call in (FakeCall([failure(grpc.StatusCode.PERMISSION_DENIED)]), Silent([]))
            ]
            await ended(watchers, 30)
        return watchers

    failed, silent = run_in_virtual_time(run())
    assert failed.problem == "PERMISSION_DENIED"
    assert silent.task.cancelled()
