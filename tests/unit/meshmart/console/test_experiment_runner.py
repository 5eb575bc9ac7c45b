"""The experiments' runner with real processes: what they print is bounded, and they end when they must."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grpcmesh.clock import monotonic
from meshmart.console.experiments import runner
from meshmart.console.experiments.output import LONGEST, Lines
from meshmart.console.experiments.program import Program
from meshmart.console.experiments.routes import verbs
from meshmart.console.experiments.runner import MAX_LINES, RefusedError, Result, Runner, Verdict

#: Seconds that anything may take on a loaded machine.
PATIENCE = 120.0
STUB = (sys.executable, "-m", "tests.unit.meshmart.console.stub_verb")
MODES = ("pass", "fail", "starve", "nan", "flood", "hang", "stubborn", "crash", "orphan")


class Deeds:
    """Collects what the runner tells."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str, str, str]] = []

    def __call__(self, who: str, what: str, experiment: str, verdict: Verdict | None) -> None:
        self.all.append((who, what, experiment, verdict.value if verdict else ""))


def runner_of(verbs: dict[str, Sequence[str]], deeds: Deeds, stub: Sequence[str] = STUB) -> Runner:
    start = partial(Program.start, program=stub)
    return Runner(verbs, os.environ, lambda: 1.0, monotonic, deeds, start)


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
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def result(runner: Runner, name: str) -> Result:
    """Play an experiment to its end."""
    runner.start(name, "ada")
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
    assert deeds.all == [("ada", "start", "pass", ""), ("ada", "end", "pass", "passed")]
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
    played.start("hang", "ada")
    await until(lambda: played.state()["running"]["lines"] == ["broken"])
    assert played.stop("bob")
    assert played.stop("bob")  # again: without effect
    await until(lambda: played.state()["running"] is None)
    told = played.results["hang"]
    assert (told.verdict, told.lines) == (Verdict.STOPPED, ("broken", "restored"))
    assert [deed[:2] for deed in deeds.all] == [("ada", "start"), ("bob", "stop"), ("ada", "end")]
    assert not played.stop("bob")


async def test_one_that_does_not_end_is_killed(played: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE", 0.1)
    played.start("stubborn", "ada")
    await until(lambda: played.state()["running"]["lines"])
    played.stop("ada")
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
    played.start("hang", "ada")
    with pytest.raises(RefusedError, match="hang is being played, started by ada"):
        played.start("pass", "bob")
    with pytest.raises(KeyError):
        played.start("nothing", "ada")


async def test_the_end_of_the_console_ends_it(deeds: Deeds) -> None:
    made = runner_of({"hang": ("hang",)}, deeds)
    made.start("hang", "ada")
    await until(lambda: made.state()["running"]["lines"])
    await made.aclose()
    assert made.results["hang"].lines == ("broken", "restored")
    with pytest.raises(RefusedError, match="the console is ending"):
        made.start("hang", "ada")


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
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert await asyncio.to_thread(owner.stdout.readline) == b"broken\n"
        owner.send_signal(signal.SIGKILL)
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
