"""`meshmart tour`: the demo as experiments, each measured against its bound."""

import asyncio
import contextlib
import functools
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from local.errors import ClusterError
from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there
from meshmart.output import console
from meshmart.tour.check import Check, Outcome
from meshmart.tour.elsewhere import elsewhere
from meshmart.tour.starvation import watched

if TYPE_CHECKING:
    from meshmart.tour.stage import Scene, Stage

#: The timeout of a scene, in seconds. The longest replaces five replicas one by one, and each must have been
#: ready for minReadySeconds: 40 where the cluster's DNS caches (docs/operations.md).
_SCENE_TIMEOUT = 900.0


@here_or_there
def tour(
    scenes: Annotated[
        list[str] | None, typer.Argument(metavar="[SCENE]…", help="Scenes to play; all by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Use gRPC's own client instead of the mesh's, to compare.")
    ] = False,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Plays scenes under load on the running cluster. Fails if a figure misses its bound."""
    from meshmart.tour.scenes import SCENES

    chosen = scenes or list(SCENES)
    if unknown := [name for name in chosen if name not in SCENES]:
        raise CommandError(f"there is no scene {unknown[0]!r}; there are {', '.join(SCENES)}")
    outcomes = play_all([SCENES[name] for name in chosen], state_dir, plain=plain, as_json=as_json)
    if not all(o.passed for o in outcomes):
        raise typer.Exit(1)


def play_all(scenes: "list[Scene]", state_dir: Path, *, plain: bool, as_json: bool) -> list[Outcome]:
    """Play scenes in order, print what they do and their outcomes, and return these.

    Args:
        scenes: The scenes.
        state_dir: The state directory of the embedded cluster.
        plain: Whether gRPC's own client makes the calls.
        as_json: Whether standard output gets JSON, and progress goes to standard error.
    """
    outcomes = asyncio.run(_play(scenes, state_dir, plain, Printer(silent=as_json)))
    if as_json:
        typer.echo(json.dumps([o.as_dict() for o in outcomes], indent=2))
    else:
        _table(outcomes)
    return outcomes


@dataclass(frozen=True)
class Printer:
    """Prints what a scene does: on standard output or, with `--json`, on standard error."""

    silent: bool

    def title(self, scene: "Scene") -> None:
        typer.echo(typer.style(f"\n{scene.NAME}", bold=True) + f": {scene.SHOWS}", err=self.silent)

    def say(self, text: str) -> None:
        # If nobody reads it any more, the scene still undoes what it disturbed. The next title ends the tour.
        with contextlib.suppress(OSError):
            typer.echo(f"  {text}", err=self.silent)

    def outcome(self, outcome: Outcome) -> None:
        bad = typer.colors.RED if outcome.measured else typer.colors.YELLOW
        for check in outcome.checks:
            mark, colour = ("ok", typer.colors.GREEN) if check.passed else (outcome.verdict, bad)
            typer.echo(typer.style(f"  {mark:<6} {check}", fg=colour), err=self.silent)
            for line in () if check.passed else check.details:
                typer.echo(f"         {line}", err=self.silent)
        if outcome.problem:
            typer.echo(typer.style(f"  {outcome.verdict} {outcome.problem}", fg=bad), err=self.silent)
        if outcome.starved:
            typer.echo(f"  {outcome.starved}", err=self.silent)


async def _play(scenes: "list[Scene]", state_dir: Path, plain: bool, printer: Printer) -> list[Outcome]:
    outcomes = []
    async with _stage(state_dir, plain, printer.say) as stage:
        try:
            for scene in scenes:
                printer.title(scene)
                outcomes.append(await _outcome(scene, stage))
                printer.outcome(outcomes[-1])
        finally:
            # If this is interrupted, nobody renews the leases any more, which restores them, too.
            await stage.restore()
    return outcomes


async def _outcome(scene: "Scene", stage: "Stage") -> Outcome:
    """Play one scene. An error that prevents it is the outcome's problem, and does not end the tour."""
    started = time.monotonic()
    checks: tuple[Check, ...] = ()
    problem = ""
    async with watched(await _processes(stage)) as watch, elsewhere(stage, watch):
        try:
            async with asyncio.timeout(_SCENE_TIMEOUT):
                checks = tuple(await scene.play(stage))
        except Exception as e:
            problem = _problem(e)
            if not problem:
                raise
    return Outcome(scene.NAME, checks, problem, time.monotonic() - started, watch.verdict)


async def _processes(stage: "Stage") -> dict[str, int]:
    """Return the process ids of the replicas that run on this machine, by name. Where nobody answers, none is
    watched: the scene itself says what is wrong.
    """
    try:
        services = (await stage.cluster.status())["services"]
    except ClusterError:
        return {}
    return {
        f"{service}/{replica['id']}": replica["pid"]
        for service, about in services.items()
        for replica in about["replicas"]
        if replica["pid"]
    }


def _problem(error: Exception) -> str:
    """Return what prevented a scene from being played; empty for a bug."""
    from grpc.aio import AioRpcError

    from meshmart.tour.stage import SceneError

    match error:
        case SceneError() | ClusterError() | CommandError():
            return str(error)
        case AioRpcError():
            return f"{error.code().name}: {error.details()}"
        case TimeoutError():
            return f"not over after {_SCENE_TIMEOUT:g} s"
        case ExceptionGroup(exceptions=[*inner]):
            return next((told for e in inner if (told := _problem(e))), "")
    return ""


@contextlib.asynccontextmanager
async def _stage(state_dir: Path, plain: bool, say: Callable[[str], None]) -> "AsyncIterator[Stage]":
    from meshmart.audit import audited
    from meshmart.operator import join
    from meshmart.plain import PlainChannels
    from meshmart.tour.stage import Stage

    async with join(state_dir) as joined, joined.cluster.alone():
        member, identity = joined.member, joined.member.identity
        assert identity is not None  # a cluster has certificates
        stage = Stage(
            joined.cluster,
            member.channel,
            lambda: identity.current.serial,
            say,
            functools.partial(audited, state_dir / "data", os.environ),
            member=member,
        )
        if not plain:
            yield stage
            return
        channels = PlainChannels(member.config)
        try:
            yield replace(stage, channels=channels, client_serial=lambda: channels.serial, careful=False)
        finally:
            await channels.aclose()


def _table(outcomes: list[Outcome]) -> None:
    from rich.table import Table

    table = Table("scene", "figure", "measured", "bound", "", title="The tour")
    for outcome in outcomes:
        bad = f"[{'red' if outcome.measured else 'yellow'}]{outcome.verdict}[/]"
        for check in outcome.checks:
            table.add_row(
                outcome.scene,
                check.what,
                check.measured_text,
                check.bound_text,
                "[green]ok[/]" if check.passed else bad,
            )
        if outcome.problem:
            table.add_row(outcome.scene, outcome.problem, "", "", bad)
        table.add_section()
    console().print(table)
    passed, unmeasured = sum(o.passed for o in outcomes), sum(not o.measured for o in outcomes)
    typer.echo(
        f"{passed} of {len(outcomes)} scenes kept every bound"
        + (f"; {unmeasured} not measured, for want of CPU: run them again" if unmeasured else "")
    )
