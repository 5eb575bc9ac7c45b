"""Says what an experiment's outcome means for a lesson: which answer was right, and why. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from local.words import plural
from meshmart.lessons.model import Figure, Lesson

Told = Mapping[str, Any]
"""An outcome or one of its checks, as `meshmart tour --json` prints it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a learner reads after the experiment."""

    answer: int | None
    """The index of the choice that the measurement confirms; None if it does not confirm any."""
    text: tuple[str, ...]
    """What was measured."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """A figure in a template: `{name}`, `{name:noun}`, `{name.what}` or `{name.bound}`."""

    measured: str
    what: str
    bound: str

    def __format__(self, noun: str) -> str:
        return plural(self.measured, noun) if noun else self.measured


def explain(lesson: Lesson, outcome: Told) -> Explanation:
    """Return what an outcome means for a lesson.

    Args:
        lesson: The lesson.
        outcome: The outcome of its experiment.
    """
    checks: Sequence[Told] = outcome["checks"]
    return Explanation(_answer(lesson, checks), _text(lesson, outcome, checks))


def _answer(lesson: Lesson, checks: Sequence[Told]) -> int | None:
    value = _value(lesson.figure, checks)
    if value is None:
        return None
    fitting = (i for i, choice in enumerate(lesson.choices) if choice.least <= value <= choice.most)
    return next(fitting, None)


def _value(figure: Figure, checks: Sequence[Told]) -> float | None:
    found = [check for check in checks if check["what"].startswith(figure.of)]
    if not found:
        return None
    if figure.value == "missed":
        return sum(not check["passed"] for check in found)
    measured = found[0]["measured"]
    if measured is None or figure.value == "measured":
        return None if measured is None else float(measured)
    return float(measured) / float(found[0]["bound"]) if found[0]["bound"] else None


def _text(lesson: Lesson, outcome: Told, checks: Sequence[Told]) -> tuple[str, ...]:
    if problem := outcome.get("problem"):
        return (f"The experiment could not be played to its end: {problem}",)
    figures = {name: _shown(of, checks) for name, of in lesson.figures.items()}
    text = lesson.measured if outcome["passed"] else lesson.missed
    told = tuple(line.format_map(figures) for line in text)
    if outcome["measured"]:
        return told
    return (*told, f"The figures are not reliable: {outcome.get('starved', '')}. Play the lesson again.")


def _shown(of: str, checks: Sequence[Told]) -> _Shown:
    found = next((check for check in checks if check["what"].startswith(of)), None)
    if found is None:
        return _Shown("no figure", "no figure", "no bound")
    return _Shown(found["measured_text"], found["what"], found["bound_text"])
