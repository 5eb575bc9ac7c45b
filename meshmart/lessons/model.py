"""The lessons as data, read from `lessons.toml`."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

#: The URL below which the pages are that a lesson links to.
PAGES = "https://github.com/meshmart/meshmart/blob/main/"


@dataclass(frozen=True, slots=True)
class Figure:
    """The figure of an experiment that answers the question."""

    of: str
    """The beginning of its name."""
    value: Literal["measured", "ratio", "missed"] = "measured"
    """The value that answers: the figure, its ratio to the bound, or how many figures missed their bound."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer that the learner may choose. It is right if the figure is within the range."""

    text: str
    least: float = -math.inf
    most: float = math.inf


@dataclass(frozen=True, slots=True)
class Look:
    """What to look at on the map: a service, or an edge such as `order>product`."""

    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Lesson:
    """One guided experiment. Texts are plain text; `measured` and `missed` are templates."""

    name: str
    title: str
    experiment: str
    """The scene of the tour, or the experiment of the lessons, that breaks it and measures."""
    intro: tuple[str, ...]
    question: str
    figure: Figure
    choices: tuple[Choice, ...]
    look: tuple[Look, ...]
    figures: Mapping[str, str]
    """The beginnings of the names of the figures that the templates use."""
    measured: tuple[str, ...]
    """What was measured, if every bound was kept."""
    missed: tuple[str, ...]
    """What was measured, if one was not."""
    why: tuple[str, ...]
    by_hand: tuple[str, ...]
    """Commands that do the parts of the experiment by hand."""
    docs: str

    @property
    def page(self) -> str:
        """Return the URL of the page about it."""
        return PAGES + self.docs


@cache
def lessons() -> Mapping[str, Lesson]:
    """Return the lessons by name, in their order."""
    told = tomllib.loads((files("meshmart.lessons") / "lessons.toml").read_text("utf-8"))
    return {lesson["name"]: _lesson(**lesson) for lesson in told["lesson"]}


def _lesson(*, figure: Any, choices: Any, look: Any, figures: Any, **rest: Any) -> Lesson:
    texts: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in rest.items()
    }
    return Lesson(
        **texts,
        figure=Figure(**figure),
        choices=tuple(Choice(**choice) for choice in choices),
        look=tuple(Look(**each) for each in look),
        figures=figures,
    )
