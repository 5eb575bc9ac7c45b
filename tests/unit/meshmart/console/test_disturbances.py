"""What is disturbed ends at its time, once, also if it cannot be put back."""

import asyncio
from collections.abc import Awaitable, Callable

from local.errors import ClusterError
from meshmart.console.switches.disturbances import MOST, Disturbance, Disturbances


class World:
    """Disturbances in virtual time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.undone: list[str] = []
        self.ended: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.all = Disturbances(lambda: self.now, self._told)

    async def _told(self, disturbance: Disturbance, problem: str) -> None:
        self.ended.put_nowait((disturbance.words, problem))

    def disturb(self, words: str, seconds: float, problem: str = "", key: str = "") -> Disturbance:
        made = Disturbance(key or words, words, "alice", self.now + seconds, self._undo(words, problem))
        self.all.add(made)
        return made

    def _undo(self, words: str, problem: str) -> Callable[[], Awaitable[None]]:
        async def undo() -> None:
            self.undone.append(words)
            if problem:
                raise ClusterError(problem)

        return undo

    async def until_ended(self) -> tuple[str, str]:
        async with asyncio.timeout(60):
            return await self.ended.get()


async def test_one_that_is_over_is_put_back_and_told() -> None:
    world = World()
    async with world.all:
        world.disturb("later", 3600)
        world.disturb("now", 0)
        assert await world.until_ended() == ("now", "")
        assert world.undone == ["now"]
        assert [d.words for d in world.all] == ["later"]


async def test_what_cannot_be_put_back_at_its_time_is_told_and_forgotten() -> None:
    world = World()
    async with world.all:
        world.disturb("now", 0, "product/1 cannot be reached")
        assert await world.until_ended() == ("now", "product/1 cannot be reached")
        assert len(world.all) == 0


async def test_one_that_is_replaced_in_the_moment_of_its_end_does_not_end_the_other() -> None:
    world = World()
    async with world.all:
        world.disturb("old", 0, key="product/1")
        await asyncio.sleep(0)  # it is over now, and not put back yet
        world.disturb("new", 3600, key="product/1")
        world.disturb("last", 0)
        assert await world.until_ended() == ("last", "")
        assert world.undone == ["last"]
        assert [d.words for d in world.all] == ["new"]


async def test_one_that_is_put_back_before_ends_once() -> None:
    world = World()
    async with world.all:
        one = world.disturb("one", 10)
        assert world.all.find(one.id) is one
        assert await world.all.undo([one]) == {}
        world.now += 20
        world.disturb("another", 0)
        assert await world.until_ended() == ("another", "")
        assert world.undone == ["one", "another"]
        assert world.all.find(one.id) is None


async def test_problems_are_told_by_what_has_them_and_stop_nothing_else() -> None:
    world = World()
    bad, good = world.disturb("bad", 10, "it hangs"), world.disturb("good", 10)
    assert await world.all.undo([bad, good]) == {"bad": "it hangs"}
    assert sorted(world.undone) == ["bad", "good"]
    assert len(world.all) == 0


async def test_the_same_again_replaces_the_first() -> None:
    world = World()
    world.disturb("3 replicas", 10, key="scale")
    world.disturb("5 replicas", 60, key="scale")
    assert [(d["words"], d["left"]) for d in world.all.told()] == [("5 replicas", 60)]


async def test_their_number_is_bounded() -> None:
    world = World()
    for n in range(MOST):
        assert world.all.room(1)
        world.disturb(str(n), 60)
    assert not world.all.room(1)
