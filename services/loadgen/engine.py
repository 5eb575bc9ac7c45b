"""Open-loop load: calls start when the schedule says, whether or not earlier ones have ended.

A closed loop slows down with the server and hides its queue; the arrivals of real buyers do not
(Schroeder et al., "Open Versus Closed: A Cautionary Tale", NSDI 2006).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self

from grpcmesh.clock import Clock
from services.loadgen.report import Report, Sample


class Recorder:
    """Collects the samples of one arrival.

    Args:
        report: Receives the samples.
        intended: The scheduled time of the arrival, in monotonic seconds.
        clock: Returns monotonic seconds.
    """

    def __init__(self, report: Report, intended: float, clock: Clock = time.monotonic) -> None:
        self._report, self._next, self._clock = report, intended, clock

    def record(self, target: str, method: str, code: str, endpoint: str | None, attempts: int) -> None:
        """Add a call that just ended. The latency of the journey's next call counts from here."""
        now = self._clock()
        self._report.add(Sample(target, method, self._next, now, code, endpoint, attempts))
        self._next = now


class Journey(Protocol):
    """The actions of one arrival. Errors of calls are recorded, not raised."""

    async def __call__(self, recorder: Recorder) -> None: ...


class Load:
    """Runs a journey at a fixed rate until the block ends.

        async with Load(journey, rps=100) as load:
            ...
        load.report

    Args:
        journey: Called once per arrival.
        rps: Arrivals per second.
        limit: The most journeys in flight; an arrival above it is dropped and counted.
        finish: Seconds that journeys in flight may take at the end of the block.
        report: Receives the samples.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        journey: Journey,
        rps: float,
        *,
        limit: int = 1000,
        finish: float = 10.0,
        report: Report | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        if not 0 < rps <= 10_000:
            raise ValueError("rps must be in (0, 10000]")
        self.report, self._clock = report or Report(), clock
        self._journey, self._interval, self._limit, self._finish = journey, 1 / rps, limit, finish
        self._running: set[asyncio.Task[None]] = set()
        self._arrivals: asyncio.Task[None] | None = None
        self._failure: asyncio.Future[BaseException] | None = None

    async def __aenter__(self) -> Self:
        self.report.started = self._clock()
        self._failure = asyncio.get_running_loop().create_future()
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
        self.report.ended = self._clock()
        if error is None and self._failure is not None and self._failure.done():
            raise self._failure.result()

    async def run(
        self, duration: float, progress: Callable[[Report], Awaitable[None]] | None = None
    ) -> Report:
        """Generate load for `duration` seconds, calling `progress` about once a second."""
        async with self:
            end = self.report.started + duration
            while (left := end - self._clock()) > 0:
                if await self._failed_within(min(1.0, left)):
                    break
                self.report.ended = self._clock()
                if progress:
                    await progress(self.report)
        return self.report

    async def failed(self) -> None:
        """Wait until a journey raises, which is a bug of the journey, and raise the same error."""
        assert self._failure is not None
        raise await asyncio.shield(self._failure)

    async def _failed_within(self, seconds: float) -> bool:
        assert self._failure is not None
        await asyncio.wait({self._failure}, timeout=seconds)
        return self._failure.done()

    async def _arrive(self) -> None:
        intended = self.report.started
        while True:
            now = self._clock()
            # A late wake-up starts every arrival that is due: the schedule does not slip.
            while intended <= now:
                self._start(intended)
                intended += self._interval
            await asyncio.sleep(intended - now)

    def _start(self, intended: float) -> None:
        if len(self._running) >= self._limit:
            self.report.dropped += 1
            return
        task = asyncio.create_task(self._journey(Recorder(self.report, intended, self._clock)))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failure is not None and not self._failure.done():
            self._failure.set_result(error)


class Pressure(Load):
    """Keeps `workers` journeys in flight until the block ends: a closed loop.

    It is meant to have calls in flight whenever something breaks, not to measure latency.
    """

    def __init__(self, journey: Journey, workers: int, *, finish: float = 10.0) -> None:
        super().__init__(journey, 1, limit=workers, finish=finish)
        self._free = asyncio.Semaphore(workers)

    async def _arrive(self) -> None:
        while True:
            await self._free.acquire()
            self._start(self._clock())

    def _ended(self, task: asyncio.Task[None]) -> None:
        super()._ended(task)
        self._free.release()
