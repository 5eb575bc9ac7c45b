"""Fair turns: who has many requests of its own waits for itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from grpcmesh.errors import ResourceExhausted
from services.user.domain import Origin
from services.user.turns import Turns

BOB = Origin("home", "bob")


class Hall:
    """Requests for turns; one turn at a time, each held until the next is called."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.served: list[str] = []
        self.refused: list[str] = []
        self.gates: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, name: str, origin: Origin) -> "asyncio.Task[None]":
        task = asyncio.create_task(self._hold(name, origin))
        self.tasks.append(task)
        await settle()
        return task

    async def _hold(self, name: str, origin: Origin) -> None:
        try:
            async with self.turns.turn(origin):
                self.served.append(name)
                self.gates.append(gate := asyncio.Event())
                await gate.wait()
        except ResourceExhausted:
            self.refused.append(name)

    async def next(self) -> None:
        """The turn that is held ends."""
        self.gates[len(self.served) - 1].set()
        await settle()

    async def all(self) -> None:
        while len(self.served) + len(self.refused) < len(self.tasks):
            await self.next()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@contextmanager
def hall(**bounds: int) -> Iterator[Hall]:
    made = Hall(Turns(concurrency=1, **bounds))
    yield made
    for task in made.tasks:
        task.cancel()


@pytest.mark.parametrize("accounts", [1, 18])
async def test_eighteen_requests_of_a_stranger_do_not_make_a_good_one_wait_for_them(accounts: int) -> None:
    with hall() as h:
        for n in range(18):
            await h.ask(f"stranger {n}", Origin("elsewhere", f"account {n % accounts}"))
        await h.ask("bob", BOB)
        for _ in range(2):
            await h.next()
        assert "bob" in h.served
        await h.all()
        assert not h.refused


async def test_an_account_comes_before_the_second_request_of_another_from_the_same_address() -> None:
    with hall() as h:
        for n in range(18):
            await h.ask(f"stranger {n}", Origin("home", "alice"))
        await h.ask("bob", BOB)
        await h.next()
        assert h.served == ["stranger 0", "bob"]


async def test_beyond_the_bound_of_one_origin_it_is_refused_and_others_are_not() -> None:
    with hall(of_one=3) as h:
        for n in range(4):
            await h.ask(f"stranger {n}", Origin("elsewhere", "x"))
        assert h.refused == ["stranger 3"]
        await h.ask("bob", BOB)
        await h.all()
        assert h.refused == ["stranger 3"]


async def test_where_too_many_wait_in_all_the_one_with_most_of_its_own_is_refused() -> None:
    with hall(waiting=3) as h:
        for n in range(4):
            await h.ask(f"stranger {n}", Origin("elsewhere", "x"))
        await h.ask("bob", BOB)
        assert h.refused == ["stranger 3"]
        await h.ask("stranger again", Origin("elsewhere", "x"))
        assert h.refused == ["stranger 3", "stranger again"]


async def test_who_gives_up_takes_no_turn_with_it() -> None:
    with hall() as h:
        await h.ask("first", BOB)
        waiting = await h.ask("second", BOB)
        await h.ask("third", BOB)
        waiting.cancel()
        await settle()
        await h.next()
        assert h.served == ["first", "third"]
        h.gates[0].set()
        h.tasks[2].cancel()  # in its turn
        await settle()
        await h.ask("fourth", BOB)
        assert h.served[-1] == "fourth"
