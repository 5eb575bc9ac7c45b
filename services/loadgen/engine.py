"""Open-loop load: calls start when the schedule says, whether or not earlier ones have ended.

A closed loop slows down with the server and hides its queue; arrivals of real buyers do not
(Schroeder et al., "Open Versus Closed: A Cautionary Tale", NSDI 2006).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

from services.loadgen.report import Report, Sample


class Recorder:
    """Collects the samples of one arrival.

    Args:
        report: Where they go.
        intended: When the schedule wanted the arrival, in monotonic seconds.
    """

    def __init__(self, report: Report, intended: float) -> None:
        self._report, self._next = report, intended

    def record(self, target: str, method: str, code: str, endpoint: str | None, attempts: int) -> None:
        """Adds a call that just ended. Later calls of the same journey count from here."""
        now = time.monotonic()
        self._report.samples.append(Sample(target, method, self._next, now, code, endpoint, attempts))
        self._next = now


class Journey(Protocol):
    """What one arrival does. Errors of calls are recorded, not raised."""

    async def __call__(self, recorder: Recorder) -> None: ...


class Load:
    """Runs a journey at a fixed rate until it is left.

        async with Load(journey, rps=100) as load:
            ...
        load.report

    Args:
        journey: Called once an arrival.
        rps: Arrivals per second.
        limit: Journeys in flight at most; an arrival above it is dropped and counted.
        finish: Seconds that journeys in flight may take when the load is left.
    """

    def __init__(self, journey: Journey, rps: float, *, limit: int = 1000, finish: float = 10.0) -> None:
        if not 0 < rps <= 10_000:
            raise ValueError("rps must be in (0, 10000]")
        self.report = Report()
        self._journey, self._interval, self._limit, self._finish = journey, 1 / rps, limit, finish
        self._running: set[asyncio.Task[None]] = set()
        self._arrivals: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        self.report.started = time.monotonic()
        self._arrivals = asyncio.create_task(self._arrive(), name="load-arrivals")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._arrivals is not None
        self._arrivals.cancel()
        await asyncio.gather(self._arrivals, return_exceptions=True)
        if self._running:
            await asyncio.wait(self._running, timeout=self._finish if error is None else 0)
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self.report.ended = time.monotonic()
        if self._failure is not None and error is None:
            raise self._failure

    async def run(
        self, duration: float, progress: Callable[[Report], Awaitable[None]] | None = None
    ) -> Report:
        """Loads for `duration` seconds, calling `progress` about once a second."""
        async with self:
            end = self.report.started + duration
            while (left := end - time.monotonic()) > 0:
                await asyncio.sleep(min(1.0, left))
                self.report.ended = time.monotonic()
                if progress:
                    await progress(self.report)
        return self.report

    async def _arrive(self) -> None:
        intended = self.report.started
        while True:
            now = time.monotonic()
            # A late wake-up starts all that is due: the schedule does not slip.
            while intended <= now:
                self._start(intended)
                intended += self._interval
            await asyncio.sleep(intended - now)

    def _start(self, intended: float) -> None:
        if len(self._running) >= self._limit:
            self.report.dropped += 1
            return
        task = asyncio.create_task(self._journey(Recorder(self.report, intended)))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._failure = error


class Pressure(Load):
    """Keeps `workers` journeys in flight until it is left: a closed loop.

    For having calls in flight whenever something breaks, not for measuring latency.
    """

    def __init__(self, journey: Journey, workers: int, *, finish: float = 10.0) -> None:
        super().__init__(journey, 1, limit=workers, finish=finish)
        self._free = asyncio.Semaphore(workers)

    async def _arrive(self) -> None:
        while True:
            await self._free.acquire()
            self._start(time.monotonic())

    def _ended(self, task: asyncio.Task[None]) -> None:
        super()._ended(task)
        self._free.release()
