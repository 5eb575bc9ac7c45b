"""Runs the actions of admins: one at a time for each service. Each is recorded and bounded in time."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from local.errors import ClusterError
from meshmart.console.records import Records
from meshmart.console.refusal import RefusedError
from meshmart.console.switches.actions import ACTIONS
from meshmart.console.switches.arguments import parse
from meshmart.console.switches.disturbances import Disturbance
from meshmart.console.switches.mesh import Mesh, put_back
from meshmart.errors import CommandError

#: The most actions that run at a time, and the most outcomes that are shown.
MOST, OUTCOMES = 16, 20
#: The name of the action that puts everything back, and the seconds that it may take.
PUT_BACK, _PUT_BACK_TIMEOUT = "put-back", 600.0
_UNDO, _UNDO_TIMEOUT = "undo", 310.0
_INTERRUPTED = "it was interrupted"
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Run:
    """An action that is being done."""

    who: str
    action: str
    area: str
    words: str
    arguments: Mapping[str, Any]
    disturbs: bool = False
    id: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


Work = Callable[[], Awaitable[str]]


class Runner:
    """Starts actions, and owns them until they have ended.

    Args:
        mesh: Carries out the actions.
        records: Records the actions.
        services: Returns the names of the services.
    """

    def __init__(self, mesh: Mesh, records: Records, services: Callable[[], Any]) -> None:
        self.mesh, self._records, self._services = mesh, records, services
        self._runs: dict[str, Run] = {}
        self._outcomes: deque[dict[str, Any]] = deque(maxlen=OUTCOMES)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Interrupt the running actions. The log notes that they were interrupted."""
        await self._interrupt(list(self._runs.values()))

    async def start(self, who: str, name: str, given: Mapping[str, Any]) -> Run:
        """Start an action of the table.

        Raises:
            RefusedError: there is no such action (404), its arguments are not valid (400), something else is
                being done to the same service or too much at once (409), or the log cannot be written (503).
        """
        action = ACTIONS.get(name)
        if action is None:
            raise RefusedError(404, f"there is no action {name[:40]!r}; there are {', '.join(ACTIONS)}")
        arguments = parse(action.parameters, given)
        self._check_service(arguments)
        if action.disturbs and not self.mesh.disturbances.room(1):
            raise RefusedError(409, "too much is disturbed already: put something back first")
        words = f"{who} {action.words.format(**arguments)}"
        run = Run(who, name, action.area(arguments), words, arguments, action.disturbs)
        return await self._start(run, lambda: action.run(self.mesh, who, arguments), action.timeout)

    async def undo(self, who: str, number: str) -> Run:
        """Put one disturbance back.

        Raises:
            RefusedError: the disturbance has already ended (404), or for the reasons of `start`.
        """
        found = self.mesh.disturbances.find(number)
        if found is None:
            raise RefusedError(404, "that disturbance has already ended")
        words = f"{who} puts back: {found.words}"
        run = Run(who, _UNDO, f"undo {number}", words, {"service": found.service, "what": found.words})
        return await self._start(run, lambda: self._undo(found), _UNDO_TIMEOUT)

    async def put_back(self, who: str) -> Run:
        """Put everything back. Running actions are interrupted first.

        Raises:
            RefusedError: for the reasons of `start`, except that the log need not be written.
        """
        run = Run(who, PUT_BACK, PUT_BACK, f"{who} puts everything back", {})
        return await self._start(run, self._put_back, _PUT_BACK_TIMEOUT, logged=False)

    def told(self) -> dict[str, Any]:
        """Return what runs, what is disturbed, and the last outcomes, as JSON's types."""
        runs = [{"id": r.id, "words": r.words, "area": r.area} for r in self._runs.values()]
        return {
            "running": runs,
            "disturbed": self.mesh.disturbances.told(),
            "outcomes": list(self._outcomes),
        }

    async def ended(self, disturbance: Disturbance, problem: str) -> None:
        """Note that a disturbance ended at its time."""
        words = f"{disturbance.words}: its time is over"
        await self._records.note("console", "time-over", f"{words}; {problem}" if problem else words)

    def _check_service(self, arguments: Mapping[str, Any]) -> None:
        known, service = list(self._services()), arguments.get("service")
        if service is not None and service not in known:
            raise RefusedError(400, f"there is no service {service!r}; there are {', '.join(known)}")

    async def _start(self, run: Run, work: Work, timeout: float, *, logged: bool = True) -> Run:
        if busy := self._runs.get(run.area):
            raise RefusedError(409, f"{busy.words}: wait until that is done")
        if len(self._runs) >= MOST and run.action != PUT_BACK:
            raise RefusedError(409, f"{MOST} things are being done already")
        self._runs[run.area] = run  # before the first await: a request at the same time finds it
        try:
            run.id = await self._records.begin(run.who, run.action, run.arguments, run.words, logged)
            run.task = asyncio.create_task(self._run(run, work, timeout), name=f"action {run.action}")
        except BaseException:
            del self._runs[run.area]
            raise
        return run

    async def _run(self, run: Run, work: Work, timeout: float) -> None:
        problem, words = "", ""
        try:
            async with asyncio.timeout(timeout):
                words = await work()
        except (ClusterError, CommandError) as e:
            problem = str(e)
        except TimeoutError:
            problem = f"it took more than {timeout:g} s"
        except asyncio.CancelledError:
            problem = _INTERRUPTED
        except Exception as e:
            _log.exception("action %s failed", run.action)
            problem = f"an error of the console itself: {type(e).__name__}; see its log"
        finally:
            await self._end(run, problem, words)

    async def _end(self, run: Run, problem: str, words: str) -> None:
        self._runs.pop(run.area, None)
        said = f"{run.words}: {problem}" if problem else words
        self._outcomes.append({"id": run.id, "who": run.who, "words": said, "failed": bool(problem)})
        await self._records.end(run.id, run.who, run.action, run.arguments, problem, said)

    async def _undo(self, disturbance: Disturbance) -> str:
        problems = await self.mesh.disturbances.undo([disturbance])
        if problems:
            raise ClusterError("; ".join(problems.values()))
        return f"put back: {disturbance.words}"

    async def _put_back(self) -> str:
        await self._interrupt([run for run in self._runs.values() if run.disturbs])
        words, problems = await put_back(self.mesh)
        if problems:
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise ClusterError(f"{words}, but not everything: {'; '.join(problems[:3])}{more}")
        return f"Everything is back: {words}"

    async def _interrupt(self, runs: list[Run]) -> None:
        begun = [(run, run.task) for run in runs if run.task]
        for _, task in begun:
            task.cancel()
        await asyncio.gather(*(task for _, task in begun), return_exceptions=True)
        for run, _ in begun:
            if self._runs.get(run.area) is run:  # its task was cancelled before its first step
                await self._end(run, _INTERRUPTED, "")
