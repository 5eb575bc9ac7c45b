"""The experiments' runner with real processes: what they print is bounded, and they end when they must."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grpcmesh.clock import monotonic
from local.tasks import until as polled
from meshmart.console.experiments import runner
from meshmart.console.experiments.output import LONGEST, Lines
from meshmart.console.experiments.program import Program
from meshmart.console.experiments.routes import verbs
from meshmart.console.experiments.runner import MAX_LINES, BusyError, Result, Runner, Verdict
from meshmart.console.refusal import RefusedError

#: Seconds that anything may take on a loaded machine.
PATIENCE = 120.0
STUB = (sys.executable, "-m", "tests.unit.meshmart.console.stub_verb")
MODES = ("pass", "fail", "starve", "nan", "flood", "hang", "stubborn", "crash", "orphan")


class Deeds:
    """A record of who did what, in memory."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str]] = []
        self.broken = False

    async def begin(self, who: str, action: str, arguments: Any, words: str) -> str:
        if self.broken:
            raise RefusedError(503, "the log cannot be written")
        self.all.append((who, f"{action} {arguments['name']}", ""))
        return "7"

    async def end(self, number: str, who: str, action: str, arguments: Any, problem: str, words: str) -> None:
        assert number == "7"
        self.all.append((who, f"end of {action} {arguments['name']}", problem))

    async def note(self, who: str, action: str, words: str) -> None:
        self.all.append((who, action, ""))


def runner_of(
    verbs: dict[str, Sequence[str]], deeds: Deeds, stub: Sequence[str] = STUB, wall: float = 1.0
) -> Runner:
    start = partial(Program.start, program=stub)
    return Runner(verbs, os.environ, lambda: wall, monotonic, deeds, start)


@pytest.fixture
def deeds() -> Deeds:
    return Deeds()


@pytest.fixture
async def played(deeds: Deeds) -> AsyncIterator[Runner]:
    """A runner whose experiments are the modes of the stub."""
    made = runner_of({mode: (mode,) for mode in MODES}, deeds)
    yield made
    await made.aclose()


async def until(condition: Callable[[], object]) -> None:
    async def look() -> bool:
        return bool(condition())

    async with asyncio.timeout(PATIENCE):
        await polled(look, 0.01)


async def result(runner: Runner, name: str) -> Result:
    """Play an experiment to its end."""
    await runner.start(name, "ada")
    await until(lambda: runner.state()["running"] is None)
    return runner.results[name]


async def test_its_lines_and_its_outcome_are_kept_as_the_command_prints_them(
    played: Runner, deeds: Deeds
) -> None:
    told = await result(played, "pass")
    assert told.verdict is Verdict.PASSED
    assert told.lines == ("stub: shows something", "   [31mred [0m")
    assert told.outcome is not None
    assert told.outcome["checks"] == [{"what": "failed calls of 7", "measured": 0, "passed": True}]
    await until(lambda: len(deeds.all) == 2)
    assert deeds.all == [("ada", "experiment pass", ""), ("ada", "end of experiment pass", "")]
    assert played.state()["results"]["pass"]["verdict"] == "passed"


@pytest.mark.parametrize(
    ("mode", "verdict"),
    [("fail", Verdict.FAILED), ("starve", Verdict.NOT_MEASURED), ("nan", Verdict.FAILED)],
)
async def test_a_missed_bound_is_a_failure_only_if_it_was_measured(
    played: Runner, mode: str, verdict: Verdict
) -> None:
    told = await result(played, mode)
    assert told.verdict is verdict
    assert told.outcome is not None
    assert told.outcome["checks"][0]["measured"] in (0, None)


async def test_what_it_prints_is_bounded(played: Runner) -> None:
    told = await result(played, "flood")
    assert told.verdict is Verdict.BROKEN
    assert told.problem == "the command ended with status 0 without an outcome"
    assert len(told.lines) == MAX_LINES
    assert told.lines[-1].startswith("2999 xxx")
    assert {len(line) for line in told.lines} == {LONGEST}


async def test_one_that_is_stopped_restores_what_it_changed(played: Runner, deeds: Deeds) -> None:
    await played.start("hang", "ada")
    await until(lambda: played.state()["running"]["lines"] == ["broken"])
    assert await played.stop("bob")
    assert await played.stop("bob")  # again: without effect
    await until(lambda: played.state()["running"] is None)
    told = played.results["hang"]
    assert (told.verdict, told.lines) == (Verdict.STOPPED, ("broken", "restored"))
    await until(lambda: len(deeds.all) == 3)
    assert deeds.all[1:] == [("bob", "stop-experiment", ""), ("ada", "end of experiment hang", "stopped")]
    assert not await played.stop("bob")


async def test_one_that_does_not_end_is_killed(played: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE", 0.1)
    await played.start("stubborn", "ada")
    await until(lambda: played.state()["running"]["lines"])
    await played.stop("ada")
    await until(lambda: played.state()["running"] is None)
    assert played.results["stubborn"].verdict is Verdict.STOPPED


async def test_one_that_takes_too_long_is_interrupted(
    played: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LIMIT", 0.1)
    told = await result(played, "hang")
    assert told.verdict is Verdict.BROKEN
    assert told.problem.endswith("without an outcome")


async def test_a_crash_is_told_and_the_next_one_can_be_played(played: Runner) -> None:
    told = await result(played, "crash")
    assert told.verdict is Verdict.BROKEN
    assert told.problem == "the command killed by SIGKILL without an outcome"
    assert told.lines == ("about to crash",)
    assert (await result(played, "pass")).number == 2


async def test_what_it_leaves_behind_ends_with_it(played: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LIMIT", 5.0)
    monkeypatch.setattr(runner, "GRACE", 0.1)
    # It may have been too slow to print its outcome before the limit.
    assert (await result(played, "orphan")).verdict in (Verdict.PASSED, Verdict.BROKEN)


async def test_a_program_that_cannot_be_started_is_told(deeds: Deeds) -> None:
    made = runner_of({"pass": ("pass",)}, deeds, ["/nonexistent/program"])
    told = await result(made, "pass")
    assert told.verdict is Verdict.BROKEN
    assert "No such file" in told.problem


async def test_there_is_one_at_a_time(played: Runner) -> None:
    await played.start("hang", "ada")
    with pytest.raises(BusyError, match="hang is being played, started by ada"):
        await played.start("pass", "bob")
    with pytest.raises(KeyError):
        await played.start("nothing", "ada")


async def test_one_that_cannot_be_recorded_is_not_started(played: Runner, deeds: Deeds) -> None:
    deeds.broken = True
    with pytest.raises(RefusedError, match="the log cannot be written"):
        await played.start("pass", "ada")
    assert played.state()["running"] is None
    deeds.broken = False
    assert (await result(played, "pass")).verdict is Verdict.PASSED


async def test_the_end_of_the_console_ends_it(deeds: Deeds) -> None:
    made = runner_of({"hang": ("hang",)}, deeds)
    await made.start("hang", "ada")
    await until(lambda: made.state()["running"]["lines"])
    await made.aclose()
    assert made.results["hang"].lines == ("broken", "restored")
    with pytest.raises(BusyError, match="the console is ending"):
        await made.start("hang", "ada")


OWNER = """
import asyncio, os, sys, time
from meshmart.console.experiments.program import Program

async def main():
    program = await Program.start(["hang", sys.argv[1]], os.environ, sys.argv[2:])
    await program.wait(lambda line: print(line, flush=True))

asyncio.run(main())
"""


async def test_a_console_that_is_killed_takes_its_experiment_along(tmp_path: Path) -> None:
    restored = tmp_path / "restored"
    command = [sys.executable, "-c", OWNER, str(restored), *STUB]
    owner = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"broken\n"
    owner.kill()
    await owner.wait()
    await until(restored.exists)


async def test_the_commands_own_program_plays_it_and_says_what_is_wrong(
    deeds: Deeds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHMART_STATE_DIR", str(tmp_path))
    made = Runner(verbs(), os.environ, lambda: 1.0, monotonic, deeds)
    told = await result(made, "balance")
    assert told.verdict is Verdict.BROKEN
    assert told.lines[-1].startswith("meshmart: no cluster is running")


def test_a_line_is_put_together_from_its_pieces() -> None:
    lines = Lines()
    pieces: list[Any] = [b"a\nb", b"\xc3", b"\xb6c\x00d\n", b"e\xff", b""]
    assert [line for piece in pieces for line in lines.feed(piece)] == ["a", "böc d", "e�"]


async def test_a_page_that_stays_open_over_a_restart_of_the_console_sees_later_results(deeds: Deeds) -> None:
    numbers = []
    for wall in (1000.0, 1010.0):  # the second is the console after the restart
        made = runner_of({"pass": ("pass",)}, deeds, wall=wall)
        numbers += [(await result(made, "pass")).number for _ in range(2)]
        await made.aclose()
    assert numbers == sorted(set(numbers))
