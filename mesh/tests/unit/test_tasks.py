"""Background tasks that fail are restarted, counted and logged. None outlives its owner."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from grpcmesh.backoff import Backoff
from grpcmesh.tasks import Tasks, stop
from grpcmesh.testing.clock import run_in_virtual_time
from tests.unit.fakes import samples


class Dice:
    """A random source that always draws the same number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value

    def randrange(self, stop: int, /) -> int:
        return int(self.value * stop)


class Odd(BaseException):
    """Such as a framework raises for its own cancellation."""


def failing(times: int, starts: list[float], error: BaseException) -> Callable[[], Coroutine[Any, Any, None]]:
    """Return a task function that fails the first `times` times, then waits."""

    async def run() -> None:
        starts.append(asyncio.get_running_loop().time())
        if len(starts) <= times:
            raise error
        await asyncio.sleep(3600)

    return run


def test_waits_double_up_to_the_longest_and_start_again() -> None:
    backoff = Backoff(0.1, 1.0, Dice(1.0))
    assert [backoff.next() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    backoff.reset()
    assert backoff.next() == pytest.approx(0.1)


def test_half_of_a_wait_is_drawn() -> None:
    assert Backoff(1.0, 1.0, Dice(0.0)).next() == 0.5


@pytest.mark.parametrize("error", [RuntimeError("oh"), asyncio.CancelledError(), Odd("oh")])
def test_a_supervised_task_that_fails_is_started_again(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    starts: list[float] = []

    async def main() -> dict[str, float]:
        tasks = Tasks(Dice(1.0))
        tasks.supervise(failing(3, starts, error), "watcher")
        await asyncio.sleep(10)
        seen = samples(tasks)
        await tasks.aclose()
        return seen

    with caplog.at_level(logging.ERROR, "grpcmesh.tasks"):
        seen = run_in_virtual_time(main())
    waits = [b - a for a, b in itertools.pairwise(starts)]
    assert waits == pytest.approx([0.1, 0.2, 0.4])
    assert seen == {"mesh_task_restarts_total{task=watcher}": 3.0}
    # One line for each failure, with its place.
    assert [r.getMessage().count("\n") for r in caplog.records] == [0, 0, 0]
    assert all(
        "watcher failed" in r.getMessage() and "test_tasks.py:" in r.getMessage() for r in caplog.records
    )
    assert not any(r.exc_info for r in caplog.records)


def test_the_backoff_of_a_task_that_ran_for_long_starts_again() -> None:
    starts: list[float] = []

    async def run() -> None:
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0 if len(starts) < 5 else 60)
        raise RuntimeError("oh")

    async def main() -> None:
        tasks = Tasks(Dice(1.0))
        tasks.supervise(run, "watcher")
        await asyncio.sleep(65)
        await tasks.aclose()

    run_in_virtual_time(main())
    assert starts[5] - starts[4] == pytest.approx(60.1)


async def test_a_supervised_task_that_returns_has_ended() -> None:
    async def run() -> None:
        return None

    tasks = Tasks()
    await tasks.supervise(run, "once")
    assert samples(tasks) == {"mesh_task_restarts_total{task=once}": 0.0}
    await tasks.aclose()


async def test_a_task_that_is_not_supervised_fails_once_and_its_owner_hears_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = Tasks()
    forever = tasks.spawn(asyncio.sleep(3600), "forever")
    tasks.spawn(failing(1, [], RuntimeError("oh"))(), "dying")
    assert str(await tasks.failed()) == "oh"
    assert [r.getMessage() for r in caplog.records] == ["background task dying failed"]
    await tasks.aclose()
    assert forever.cancelled()


async def test_nothing_starts_after_the_owner_has_been_closed() -> None:
    tasks = Tasks()
    await tasks.aclose()
    with pytest.raises(RuntimeError, match="late was not started"):
        tasks.spawn(asyncio.sleep(0), "late")


async def test_a_task_that_will_not_end_is_named_and_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpcmesh.tasks.CLOSE_TIMEOUT", 0.01)
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    tasks = Tasks()
    task = tasks.spawn(stubborn(), "stubborn")
    await asyncio.sleep(0)
    await tasks.aclose()
    assert "stubborn did not end" in caplog.text
    released.set()
    await task


async def test_background_work_inherits_nothing_from_who_starts_it() -> None:
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    caller.set("somebody")

    async def who() -> str:
        return caller.get()

    tasks = Tasks()
    assert await tasks.spawn(who()) == "nobody"
    await tasks.aclose()


async def test_stopping_a_task_raises_what_it_died_of() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise RuntimeError("oh")

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="oh"):
        await stop(task)
