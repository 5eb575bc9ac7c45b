import asyncio
from collections.abc import Awaitable, Callable, Sequence

import httpx
import pytest

from grpcmesh.errors import MeshError
from grpcmesh.testing.clock import run_in_virtual_time
from services.storefront import tracking as module
from services.storefront.tracking import BATCH, MAX_WAITING, Note, Tracking
from tests.unit.services.storefront.fakes import FakeShop


class Service:
    """Takes notes; while it is away, refuses them; while it hangs, keeps whoever tells waiting."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.away = self.hangs = False

    async def __call__(self, notes: Sequence[Note]) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.away:
            raise MeshError("away")
        self.batches.append([note.product_id for note in notes])

    @property
    def taken(self) -> list[int]:
        return [product for batch in self.batches for product in batch]


def virtual(scene: Callable[[Service, Tracking], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        async def run() -> None:
            service = Service()
            await scene(service, Tracking(service, lambda: 1000.0))

        run_in_virtual_time(run())

    test.__name__ = scene.__name__
    return test


@virtual
async def test_what_is_noted_is_sent_in_batches_and_the_rest_at_the_end(
    service: Service, tracking: Tracking
) -> None:
    async with tracking.running():
        for product in range(1, BATCH + 11):
            tracking.viewed(product)
        assert service.batches == []
        await asyncio.sleep(2)
        assert [len(batch) for batch in service.batches] == [BATCH, 10]
        tracking.searched()
    assert service.taken == [*range(1, BATCH + 11), 0]


@virtual
async def test_while_the_service_is_away_the_newest_notes_wait(service: Service, tracking: Tracking) -> None:
    service.away = True
    async with tracking.running():
        for product in range(1, 3 * MAX_WAITING + 1):
            tracking.viewed(product)
            if product % 1000 == 0:
                await asyncio.sleep(1.2)
        service.away = False
        await asyncio.sleep(2)
    assert service.taken == list(range(2 * MAX_WAITING + 1, 3 * MAX_WAITING + 1))


@virtual
async def test_leaving_does_not_wait_long_for_a_service_that_hangs(
    service: Service, tracking: Tracking
) -> None:
    service.hangs = True
    async with asyncio.timeout(3 * module.TIMEOUT), tracking.running():
        tracking.viewed(1)
        await asyncio.sleep(2)


@pytest.mark.parametrize(
    ("path", "noted"),
    [("/products/1", [1]), ("/api/products/2", [2]), ("/search?q=a", [0]), ("/", []), ("/products/99", [])],
)
async def test_a_page_that_shows_something_leaves_a_note(
    shop: FakeShop, browser: httpx.AsyncClient, path: str, noted: list[int]
) -> None:
    service = Service()
    shop.site.tracking._send = service
    await browser.get(path)
    await shop.site.tracking.flush()
    assert service.taken == noted
