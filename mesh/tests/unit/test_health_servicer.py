import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from grpcmesh.errors import NotFound, ResourceExhausted
from grpcmesh.health.list_pb2 import HealthListRequest
from grpcmesh.health.servicer import HealthServicer

SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


def request(service: str = "") -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=service)


async def check(health: HealthServicer, service: str = "") -> int:
    return int((await health.Check(request(service), None)).status)


class Context:
    """A context that accepts initial metadata."""

    async def send_initial_metadata(self, metadata: Any) -> None:
        self.sent = dict(metadata)


def watch(health: HealthServicer, service: str = "", context: Any = None) -> AsyncIterator[Any]:
    return health.Watch(request(service), context or Context())


async def test_a_watcher_hears_that_the_server_is_of_the_mesh() -> None:
    context = Context()
    await heard(watch(HealthServicer(), context=context))
    assert context.sent == {"mesh-member": "1"}


async def heard(watching: AsyncIterator[Any]) -> int:
    return int((await asyncio.wait_for(anext(watching), 1)).status)


async def test_a_process_does_not_serve_until_it_says_so() -> None:
    health = HealthServicer()
    assert await check(health) == NOT_SERVING
    health.set("", True)
    assert await check(health) == SERVING


async def test_a_service_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        await check(HealthServicer(), "no.Such")


async def test_all_services_are_set_and_listed_together() -> None:
    health = HealthServicer()
    health.set("a.A", False)
    health.set("b.B", False)
    health.set_all(True)
    listed = (await health.List(None, None)).statuses
    assert {name: r.status for name, r in listed.items()} == {"": SERVING, "a.A": SERVING, "b.B": SERVING}
    assert health.statuses() == {"": True, "a.A": True, "b.B": True}


async def test_a_watcher_hears_the_present_and_each_change() -> None:
    health = HealthServicer()
    watching = watch(health)
    assert await heard(watching) == NOT_SERVING
    for serving, status in [(True, SERVING), (False, NOT_SERVING), (True, SERVING)]:
        health.set("", serving)
        assert await heard(watching) == status


async def test_a_watcher_of_a_service_that_comes_later_hears_of_it() -> None:
    health = HealthServicer()
    watching = watch(health, "a.A")
    assert await heard(watching) == UNKNOWN
    health.set("a.A", True)
    assert await heard(watching) == SERVING


async def test_what_has_not_changed_is_not_told_again() -> None:
    health = HealthServicer()
    health.set("", True)
    watching = watch(health)
    assert await heard(watching) == SERVING
    health.set("", True)
    health.set("", False)
    health.set("", True)  # faster than the watcher reads: nothing is new to it
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watching), 0.05)


async def test_after_leaving_nothing_serves_any_more() -> None:
    health = HealthServicer()
    health.set("a.A", True)
    watching = watch(health, "a.A")
    assert await heard(watching) == SERVING
    health.leave()
    assert await heard(watching) == NOT_SERVING
    health.set("a.A", True)
    health.set_all(True)
    assert await check(health, "a.A") == NOT_SERVING


async def test_watchers_are_bounded_and_forgotten_when_they_go() -> None:
    health = HealthServicer(max_watchers=2)
    first, second, third = (watch(health) for _ in range(3))
    await heard(first)
    await heard(second)
    with pytest.raises(ResourceExhausted):
        await heard(third)
    await first.aclose()  # type: ignore[attr-defined]
    assert await heard(watch(health)) == NOT_SERVING


async def test_list_tells_every_service_in_the_bytes_of_the_protocol() -> None:
    health = HealthServicer()
    health.set("a", True)
    listed = await health.List(HealthListRequest(), None)
    process, service = b"\x0a\x06\x0a\x00\x12\x02\x08\x02", b"\x0a\x07\x0a\x01a\x12\x02\x08\x01"
    assert listed.SerializeToString() in (process + service, service + process)
