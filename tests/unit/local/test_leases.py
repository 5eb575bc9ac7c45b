"""What is undone when nobody renews it: in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from grpcmesh.testing.clock import run_in_virtual_time
from local.errors import ClusterError
from local.leases import Leases


class Told:
    """Leases that run, and what was undone."""

    def __init__(self) -> None:
        self.undone: list[str] = []
        self.lines: list[str] = []
        self.leases = Leases(self.lines.append, asyncio.get_running_loop().time)

    def hold(self, what: str, seconds: float, undo: str = "") -> None:
        async def note() -> None:
            self.undone.append(undo or what)

        self.leases.hold(what, seconds, note)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.leases.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def test_a_lease_that_nobody_renews_is_undone_once() -> None:
    async def test() -> None:
        told = Told()
        async with told.running():
            told.hold("hang", 30)
            await asyncio.sleep(29)
            assert told.undone == []
            await asyncio.sleep(2)
            assert told.undone == ["hang"]
            await asyncio.sleep(100)
        assert told.undone == ["hang"]
        assert "hang" not in told.leases

    run_in_virtual_time(test())


def test_a_renewed_lease_undoes_what_the_first_one_did() -> None:
    async def test() -> None:
        told = Told()
        async with told.running():
            told.hold("scale", 30, "to 2")
            for _ in range(10):
                await asyncio.sleep(10)
                told.hold("scale", 30, "to 3")
            assert told.undone == []
            await asyncio.sleep(31)
        assert told.undone == ["to 2"]

    run_in_virtual_time(test())


def test_what_is_dropped_is_left_alone_and_a_shorter_one_is_seen_in_time() -> None:
    async def test() -> None:
        told = Told()
        async with told.running():
            told.hold("long", 3000)
            await asyncio.sleep(1)
            told.hold("short", 5)
            await asyncio.sleep(6)
            assert told.undone == ["short"]
            told.leases.drop("long")
            told.leases.drop("long")
            await asyncio.sleep(4000)
        assert told.undone == ["short"]

    run_in_virtual_time(test())


@pytest.mark.parametrize("problem", ["it does not start"])
def test_one_that_cannot_be_undone_is_told_and_the_others_are(problem: str) -> None:
    async def test() -> None:
        told = Told()

        async def fail() -> None:
            raise ClusterError(problem)

        async with told.running():
            told.leases.hold("bad", 5, fail)
            told.hold("good", 5)
            await asyncio.sleep(6)
        assert told.undone == ["good"]
        assert any(problem in line for line in told.lines)

    run_in_virtual_time(test())


def test_one_that_takes_long_to_undo_does_not_delay_the_others() -> None:
    async def test() -> None:
        told = Told()

        async def slowly() -> None:
            await asyncio.sleep(120)
            told.undone.append("slow")

        async with told.running():
            told.leases.hold("slow", 5, slowly)
            told.hold("quick", 6)
            await asyncio.sleep(7)
            assert told.undone == ["quick"]
            await asyncio.sleep(120)
        assert told.undone == ["quick", "slow"]

    run_in_virtual_time(test())


def test_one_that_cannot_be_undone_yet_is_tried_again_until_it_is() -> None:
    async def test() -> None:
        told = Told()
        problems = ["the others are not ready"] * 3

        async def undo() -> None:
            if problems:
                raise ClusterError(problems.pop())
            told.undone.append("scale")

        async with told.running():
            told.leases.hold("scale", 5, undo)
            await asyncio.sleep(6)
            assert told.undone == []
            await asyncio.sleep(1000)
        assert told.undone == ["scale"]

    run_in_virtual_time(test())


def test_a_lease_that_is_taken_while_it_cannot_be_undone_stays_with_its_new_holder() -> None:
    async def test() -> None:
        told = Told()

        async def undo() -> None:
            await asyncio.sleep(10)
            raise ClusterError("the others are not ready")

        async with told.running():
            told.leases.hold("scale", 5, undo)
            await asyncio.sleep(6)
            told.hold("scale", 1000, "of the new holder")
            await asyncio.sleep(900)
            assert told.undone == []
            await asyncio.sleep(200)
        assert told.undone == ["of the new holder"]

    run_in_virtual_time(test())
