"""The lessons' data: each has all its parts, and its commands and experiments exist."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from local.catalog import SHOP
from meshmart.lessons.experiments import EXPERIMENTS, OWN, load, verb
from meshmart.lessons.model import PAGES, Lesson, lessons
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check, Outcome
from meshmart.tour.scenes import SCENES
from meshmart.verbs import app

ROOT = Path(__file__).parents[4]
ALL = list(lessons().values())
each = pytest.mark.parametrize("lesson", ALL, ids=lambda lesson: lesson.name)


def parse(command: str) -> None:
    """Parse a command line as `meshmart` does. Raises ValueError or a usage error if it is not valid."""
    program, *arguments = shlex.split(command)
    if program != "meshmart":
        raise ValueError(command)
    found: Any = typer.main.get_command(app)
    while commands := getattr(found, "commands", None):
        name = arguments.pop(0)
        if name not in commands:
            raise ValueError(f"{command}: there is no {name}")
        found = commands[name]
    found.make_context("meshmart", arguments)


def test_there_are_six_and_their_names_stay() -> None:
    assert list(lessons()) == ["one-pod", "sick-replica", "kill", "retry-storm", "rotation", "intruder"]


@each
def test_it_has_all_its_parts(lesson: Lesson) -> None:
    for part in (lesson.intro, lesson.look, lesson.measured, lesson.missed, lesson.why, lesson.by_hand):
        assert part
    assert lesson.question.endswith("?")
    assert len(lesson.choices) >= 3
    assert re.fullmatch(r"[a-z-]+", lesson.name)


@each
def test_its_experiment_exists_and_measures(lesson: Lesson) -> None:
    scene = load(lesson.experiment)
    assert lesson.experiment == scene.NAME
    assert EXPERIMENTS[lesson.experiment] == scene.SHOWS
    assert callable(scene.play)


@each
def test_its_commands_can_be_typed(lesson: Lesson) -> None:
    parse(" ".join(("meshmart", *verb(lesson.experiment))))
    for command in lesson.by_hand:
        parse(command)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("meshmart tuor kill", "there is no tuor"),
        ("meshmart kill", "Missing parameter"),
        ("meshmart tour --no-such-option", "No such option"),
    ],
)
def test_a_command_that_does_not_exist_would_be_noticed(wrong: str, why: str) -> None:
    with pytest.raises(Exception, match=why):
        parse(wrong)


@each
def test_no_value_confirms_two_choices(lesson: Lesson) -> None:
    rising = sorted(lesson.choices, key=lambda choice: choice.least)
    for lower, upper in pairwise(rising):
        assert lower.most < upper.least
    assert len({choice.text for choice in lesson.choices}) == len(lesson.choices)


@each
def test_what_it_looks_at_is_on_the_map(lesson: Lesson) -> None:
    for look in lesson.look:
        assert set(look.at.split(">")) <= set(SHOP), look


@each
def test_its_templates_name_only_its_figures(lesson: Lesson) -> None:
    for line in (*lesson.measured, *lesson.missed):
        for _, name, _, _ in Formatter().parse(line):
            if name:
                figure, _, attribute = name.partition(".")
                assert figure in lesson.figures, line
                assert attribute in ("", "what", "bound"), line


@each
def test_its_page_is_there(lesson: Lesson) -> None:
    file, _, anchor = lesson.docs.partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / file).read_text(), re.M)
    assert anchor in {heading.partition(":")[0].strip() for heading in headings}
    assert lesson.page == PAGES + lesson.docs


def test_every_scene_and_every_experiment_can_be_played_by_its_verb() -> None:
    assert list(SCENES) == list(CATALOGUE)
    assert {name: scene.SHOWS for name, scene in SCENES.items()} == CATALOGUE
    assert verb("kill") == ("tour", "kill")
    for name in OWN:
        assert verb(name) == ("lesson", name)
        assert lessons()[name].experiment == name


def test_the_command_lists_them_and_refuses_others() -> None:
    listed = CliRunner().invoke(app, ["lesson"]).output
    assert [line.split()[0] for line in listed.splitlines()] == list(lessons())
    refused = CliRunner().invoke(app, ["lesson", "one-pot"])
    assert "there is no lesson 'one-pot'; there are one-pod," in str(refused.exception)


@pytest.mark.parametrize(("options", "asked"), [([], True), (["--json"], False)])
def test_with_json_the_command_neither_asks_nor_explains(
    monkeypatch: pytest.MonkeyPatch, options: list[str], asked: bool
) -> None:
    played = Outcome("kill", (Check("failed reads of 900", 0, 0, relation="=="),))
    monkeypatch.setattr("meshmart.tour.command.play_all", lambda *_, **__: [played])
    told = CliRunner().invoke(app, ["lesson", "kill", *options])
    assert told.exit_code == 0
    assert (lessons()["kill"].question in told.output) == asked
    assert ("The answer is" in told.output) == asked
