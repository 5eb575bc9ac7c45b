"""When a server looks how long calls queue in it."""

import asyncio

from grpcmesh.clock import monotonic
from grpcmesh.server.probe import QueueProbe
from grpcmesh.tasks import Tasks


class Watcher:
    """Wants no probe; tells when it was asked."""

    def __init__(self) -> None:
        self.waiting, self.wanted, self.asked = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def wants_probe(self) -> bool:
        self.wanted.clear()
        self.asked.set()
        return False

    async def wait_until_wanted(self) -> None:
        self.waiting.set()
        await self.wanted.wait()
        self.waiting.clear()

    def probed(self, age: float) -> None:
        raise AssertionError("no probe was sent")

    def probing(self, age: float) -> None:
        assert age == 0.0


async def test_an_idle_server_looks_only_when_a_call_of_unknown_age_has_come() -> None:
    watcher = Watcher()
    probe = QueueProbe("127.0.0.1:1", "ping", None, watcher, Tasks(), monotonic)
    running = asyncio.create_task(probe.run())
    try:
        async with asyncio.timeout(60):
            for _ in range(3):
                await watcher.waiting.wait()
                assert not watcher.asked.is_set()
                watcher.wanted.set()
                await watcher.asked.wait()
                watcher.asked.clear()
    finally:
        running.cancel()
        await asyncio.wait([running])
