"""`meshmart lesson sick-replica`: a lesson without its page."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there

if TYPE_CHECKING:
    from meshmart.lessons.model import Lesson
    from meshmart.tour.check import Outcome


@here_or_there
def lesson(
    name: Annotated[
        str, typer.Argument(metavar="[LESSON]", help="The lesson; without it, all are listed.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print only the outcome, as JSON.")] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="Use gRPC's own client instead of the mesh's, to compare.")
    ] = False,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Asks a question, breaks something on the running cluster, and measures the answer."""
    from meshmart.lessons.model import lessons

    if not name:
        for each in lessons().values():
            typer.echo(f"{each.name:<14}{each.title}")
        return
    if name not in lessons():
        raise CommandError(f"there is no lesson {name!r}; there are {', '.join(lessons())}")
    outcome = _taught(lessons()[name], state_dir, plain=plain, as_json=as_json)
    if not outcome.passed:
        raise typer.Exit(1)


def _taught(chosen: "Lesson", state_dir: Path, *, plain: bool, as_json: bool) -> "Outcome":
    from meshmart.lessons.experiments import load
    from meshmart.tour.command import play_all

    def say(lines: Iterator[str]) -> None:
        # A program that reads the outcome asks and explains itself, as the console does.
        if not as_json:
            typer.echo("\n".join(lines))

    say(_asked(chosen))
    (outcome,) = play_all([load(chosen.experiment)], state_dir, plain=plain, as_json=as_json)
    say(_explained(chosen, outcome))
    return outcome


def _asked(chosen: "Lesson") -> Iterator[str]:
    yield typer.style(chosen.title, bold=True)
    yield from chosen.intro
    yield f"\n{chosen.question}"
    for letter, choice in zip("abcdef", chosen.choices, strict=False):
        yield f"  {letter}) {choice.text}"


def _explained(chosen: "Lesson", outcome: "Outcome") -> Iterator[str]:
    from meshmart.lessons.explain import explain

    told = explain(chosen, outcome.as_dict())
    yield ""
    if told.answer is not None:
        yield f"The answer is {'abcdef'[told.answer]}) {chosen.choices[told.answer].text}"
    yield from told.text
    yield from chosen.why
    yield f"More: {chosen.page}"
