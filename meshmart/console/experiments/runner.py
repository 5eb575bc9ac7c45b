"""Plays one experiment at a time, and remembers the last result of each."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from grpcmesh.clock import Clock
from local.errors import describe
from local.process import describe_exit
from meshmart.console.experiments.program import GRACE, Program

#: The most lines of progress that are kept.
MAX_LINES = 200
#: Seconds after which an experiment that does not end is interrupted; a scene itself may take 900.
LIMIT = 1000.0


class Verdict(StrEnum):
    """How an experiment ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MEASURED = "not measured"
    STOPPED = "stopped"
    BROKEN = "did not end properly"


class BusyError(Exception):
    """The experiment cannot be started now. The message says why."""


class Diary(Protocol):
    """Port: keeps a record of who did what. `meshmart.console.records.Records` has it."""

    async def begin(self, who: str, action: str, arguments: Mapping[str, Any], words: str) -> str: ...

    async def end(
        self, number: str, who: str, action: str, arguments: Mapping[str, Any], problem: str, words: str
    ) -> None: ...

    async def note(self, who: str, action: str, words: str) -> None: ...


#: The names of the actions in the record.
PLAY, STOP = "experiment", "stop-experiment"


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one experiment."""

    number: int
    """Grows with each experiment, also after a restart of the console: pages that stay open compare it."""
    experiment: str
    verdict: Verdict
    by: str
    """Who started it."""
    at: float
    """When it ended, in Unix seconds."""
    seconds: float
    lines: tuple[str, ...]
    outcome: Mapping[str, Any] | None = None
    """As the command prints it with `--json`."""
    problem: str = ""


class _Run:
    """An experiment that is being played."""

    def __init__(self, number: int, experiment: str, by: str, since: float) -> None:
        self.number, self.experiment, self.by, self.since = number, experiment, by, since
        self.lines: deque[str] = deque(maxlen=MAX_LINES)
        self.stop = asyncio.Event()
        """Set when the experiment must end."""


class Runner:
    """Owns the experiment that is being played. It must be closed.

    Args:
        verbs: The arguments of `meshmart` that play each experiment, by its name.
        environ: The environment of the command.
        wall: Returns Unix seconds.
        clock: Returns monotonic seconds.
        diary: Keeps a record of who started and stopped what.
        start: Starts a verb.
    """

    def __init__(
        self,
        verbs: Mapping[str, Sequence[str]],
        environ: Mapping[str, str],
        wall: Callable[[], float],
        clock: Clock,
        diary: Diary,
        start: Callable[[Sequence[str], Mapping[str, str]], Any] = Program.start,
    ) -> None:
        self._verbs, self._environ, self._wall, self._clock = verbs, environ, wall, clock
        self._diary, self._start = diary, start
        self._run: _Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._count, self._closed = 0, False
        self.results: dict[str, Result] = {}
        """The last result of each experiment."""
        self.version = 0
        """Grows whenever something has changed."""

    async def start(self, experiment: str, by: str) -> None:
        """Start an experiment.

        Args:
            experiment: Its name.
            by: Who starts it.

        Raises:
            KeyError: there is no such experiment.
            BusyError: another one is being played, or the console ends.
            RefusedError: it could not be recorded, so it was not started.
        """
        verb = self._verbs[experiment]
        if self._run:
            raise BusyError(f"{self._run.experiment} is being played, started by {self._run.by}")
        self._count = max(self._count + 1, int(self._wall()))
        self._run = run = _Run(self._count, experiment, by, self._wall())
        try:
            words = f"{by} starts the experiment {experiment}"
            record = await self._diary.begin(by, PLAY, {"name": experiment}, words)
            if self._closed:
                raise BusyError("the console is ending")
        except BaseException:
            self._run = None
            raise
        self._task = asyncio.create_task(self._play(run, verb, record), name=f"experiment-{experiment}")
        self.version += 1

    async def stop(self, by: str) -> bool:
        """Interrupt the experiment, which then undoes what it disturbed. Return whether one was running."""
        run = self._run
        if run is None:
            return False
        if not run.stop.is_set():
            run.stop.set()
            self.version += 1
            await self._diary.note(by, STOP, f"{by} stops the experiment {run.experiment}")
        return True

    async def aclose(self) -> None:
        """Interrupt the experiment, and wait until it has ended."""
        self._closed = True
        if self._run:
            self._run.stop.set()
        if self._task:
            await asyncio.gather(self._task, return_exceptions=True)

    def state(self) -> dict[str, Any]:
        """Return what is being played, and how each experiment ended last, as plain data."""
        results = {name: _summary(result) for name, result in self.results.items()}
        return {"version": self.version, "running": _running(self._run), "results": results}

    async def _play(self, run: _Run, verb: Sequence[str], record: str) -> None:
        began, outcome, problem = self._clock(), None, ""
        try:
            program = await self._start(verb, self._environ)
            code = await self._ended(program, run)
            outcome = program.output.outcome()
            if outcome is None and not run.stop.is_set():
                problem = f"the command {describe_exit(code)} without an outcome"
        except OSError as e:
            problem = f"the command cannot be started: {describe(e)}"
        verdict = _verdict(outcome, run.stop.is_set())
        told = (self._wall(), self._clock() - began, tuple(run.lines), outcome, problem)
        self.results[run.experiment] = Result(run.number, run.experiment, verdict, run.by, *told)
        self._run = None
        self.version += 1
        words = f"The experiment {run.experiment} {_words(verdict)}"
        failed = "" if verdict is Verdict.PASSED else problem or verdict.value
        await self._diary.end(record, run.by, PLAY, {"name": run.experiment}, failed, words)

    async def _ended(self, program: Program, run: _Run) -> int:
        """Wait for the end of a program, which `run.stop` or the time limit interrupt."""
        waiting = asyncio.create_task(program.wait(lambda line: self._say(run, line)), name="program")
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LIMIT):
                    await _first(waiting, run.stop)
            if not waiting.done():
                program.interrupt()
                await asyncio.wait({waiting}, timeout=GRACE)
            if not waiting.done():
                program.kill()
            return await waiting
        finally:
            program.kill()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    def _say(self, run: _Run, line: str) -> None:
        if line:
            run.lines.append(line)
            self.version += 1


async def _first(waiting: asyncio.Task[int], stop: asyncio.Event) -> None:
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        await asyncio.gather(stopped, return_exceptions=True)


def _verdict(outcome: Mapping[str, Any] | None, stopped: bool) -> Verdict:
    if outcome is None:
        return Verdict.STOPPED if stopped else Verdict.BROKEN
    if outcome["passed"]:
        return Verdict.PASSED
    return Verdict.FAILED if outcome["measured"] else Verdict.NOT_MEASURED


def _words(verdict: Verdict) -> str:
    match verdict:
        case Verdict.PASSED:
            return "passed: every figure kept its bound"
        case Verdict.FAILED:
            return "failed: a figure missed its bound"
        case Verdict.NOT_MEASURED:
            return "was not measured: processes got too little CPU"
        case Verdict.STOPPED:
            return "was stopped"
        case Verdict.BROKEN:
            return "did not end properly"


def _running(run: _Run | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {
        "number": run.number,
        "experiment": run.experiment,
        "by": run.by,
        "since": run.since,
        "stopping": run.stop.is_set(),
        "lines": list(run.lines),
    }


def _summary(result: Result) -> dict[str, Any]:
    return {
        "number": result.number,
        "verdict": result.verdict.value,
        "by": result.by,
        "at": result.at,
        "seconds": round(result.seconds, 1),
    }
