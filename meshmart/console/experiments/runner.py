"""Plays one experiment at a time, and remembers the last result of each."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from grpcmesh.clock import Clock
from local.errors import describe
from local.process import describe_exit
from meshmart.console.experiments.program import GRACE, Program

#: The most lines of progress that are kept.
MAX_LINES = 200
#: Seconds after which an experiment is interrupted that does not end; a scene itself may take 900.
LIMIT = 1000.0


class Verdict(StrEnum):
    """How an experiment ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_MEASURED = "not measured"
    STOPPED = "stopped"
    BROKEN = "did not end properly"


class RefusedError(Exception):
    """The experiment cannot be started now. The message says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """The end of one experiment."""

    number: int
    """Counts the experiments of this process, from 1."""
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


Tell = Callable[[str, str, str, Verdict | None], None]
"""Called with who, `start`, `stop` or `end`, the experiment, and at its end the verdict."""


class _Run:
    """An experiment that is being played."""

    def __init__(self, number: int, experiment: str, by: str, since: float) -> None:
        self.number, self.experiment, self.by, self.since = number, experiment, by, since
        self.lines: deque[str] = deque(maxlen=MAX_LINES)
        self.stop = asyncio.Event()
        """Set when it is to end."""


class Runner:
    """Owns the experiment that is being played. It must be closed.

    Args:
        verbs: The arguments of `meshmart` that play each experiment, by its name.
        environ: The environment of the command.
        wall: Unix seconds.
        clock: Monotonic seconds.
        tell: Told what happens.
        start: Starts a verb.
    """

    def __init__(
        self,
        verbs: Mapping[str, Sequence[str]],
        environ: Mapping[str, str],
        wall: Callable[[], float],
        clock: Clock,
        tell: Tell = lambda *_: None,
        start: Callable[[Sequence[str], Mapping[str, str]], Any] = Program.start,
    ) -> None:
        self._verbs, self._environ, self._wall, self._clock = verbs, environ, wall, clock
        self._tell, self._start = tell, start
        self._run: _Run | None = None
        self._task: asyncio.Task[None] | None = None
        self._count, self._closed = 0, False
        self.results: dict[str, Result] = {}
        """The last result of each experiment."""
        self.version = 0
        """Grows whenever something has changed."""

    def start(self, experiment: str, by: str) -> None:
        """Start an experiment.

        Args:
            experiment: Its name.
            by: Who starts it.

        Raises:
            KeyError: there is no such experiment.
            RefusedError: another one is being played, or the console ends.
        """
        verb = self._verbs[experiment]
        if self._closed:
            raise RefusedError("the console is ending")
        if self._run:
            raise RefusedError(f"{self._run.experiment} is being played, started by {self._run.by}")
        self._count += 1
        self._run = _Run(self._count, experiment, by, self._wall())
        self._tell(by, "start", experiment, None)
        self._task = asyncio.create_task(self._play(self._run, verb), name=f"experiment-{experiment}")
        self.version += 1

    def stop(self, by: str) -> bool:
        """Interrupt the experiment, which then undoes what it disturbed. Return whether there is one."""
        if self._run is None:
            return False
        if not self._run.stop.is_set():
            self._tell(by, "stop", self._run.experiment, None)
            self._run.stop.set()
            self.version += 1
        return True

    async def aclose(self) -> None:
        """Interrupt the experiment, and wait until it has ended."""
        self._closed = True
        self.stop("the console, which ends")
        if self._task:
            await asyncio.gather(self._task, return_exceptions=True)

    def state(self) -> dict[str, Any]:
        """Return what is being played, and how each experiment ended last, as plain data."""
        results = {name: _summary(result) for name, result in self.results.items()}
        return {"version": self.version, "running": _running(self._run), "results": results}

    async def _play(self, run: _Run, verb: Sequence[str]) -> None:
        began, output, code, problem = self._clock(), None, 0, ""
        try:
            program = await self._start(verb, self._environ)
            code = await self._ended(program, run)
            output = program.output.outcome()
        except OSError as e:
            problem = describe(e)
        finally:
            verdict = _verdict(output, run.stop.is_set())
            if verdict is Verdict.BROKEN:
                problem = problem or f"the command {describe_exit(code)} without an outcome"
            self._end(run, verdict, self._clock() - began, output, problem)

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

    def _end(
        self, run: _Run, verdict: Verdict, seconds: float, outcome: Mapping[str, Any] | None, problem: str
    ) -> None:
        self.results[run.experiment] = Result(
            run.number,
            run.experiment,
            verdict,
            run.by,
            self._wall(),
            seconds,
            tuple(run.lines),
            outcome,
            problem,
        )
        self._run = None
        self.version += 1
        self._tell(run.by, "end", run.experiment, verdict)


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
