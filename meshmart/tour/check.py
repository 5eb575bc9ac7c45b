"""A scene's figures, and whether they keep their bounds. Pure."""

import operator
from dataclasses import dataclass
from typing import Any, Literal

_COMPARE = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a scene, and its bound."""

    what: str
    measured: float
    bound: float
    unit: str = ""
    relation: Literal["<=", ">=", "=="] = "<="
    details: tuple[str, ...] = ()
    """Lines to show if it fails: codes, replicas and times of what failed."""

    @property
    def passed(self) -> bool:
        """Return whether the figure keeps its bound. NaN keeps none."""
        return bool(_COMPARE[self.relation](self.measured, self.bound))

    @property
    def measured_text(self) -> str:
        return f"{_figure(self.measured)}{self.unit}"

    @property
    def bound_text(self) -> str:
        return f"{self.relation} {_figure(self.bound)}{self.unit}"

    def __str__(self) -> str:
        return f"{self.what}: {self.measured_text} ({self.bound_text})"

    def as_dict(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "measured": round(self.measured, 4),
            "relation": self.relation,
            "bound": self.bound,
            "unit": self.unit.strip(),
            "measured_text": self.measured_text,
            "bound_text": self.bound_text,
            "passed": self.passed,
            **({"details": list(self.details)} if self.details and not self.passed else {}),
        }


def _figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a scene: its checks, or the reason why it could not be played."""

    scene: str
    checks: tuple[Check, ...] = ()
    problem: str = ""
    seconds: float = 0.0
    starved: str = ""
    """Why the figures say little: processes did not get enough CPU. Empty if they did."""

    @property
    def passed(self) -> bool:
        return not self.problem and bool(self.checks) and all(c.passed for c in self.checks)

    @property
    def measured(self) -> bool:
        """Return False if a bound was missed while a process was starved: run it again on a quieter machine.

        A bound that was kept nevertheless counts as kept.
        """
        return self.passed or not self.starved

    @property
    def verdict(self) -> str:
        """Return the verdict on a scene that has not passed: `FAILED`, or `not measured`."""
        return "FAILED" if self.measured else "not measured"

    def as_dict(self) -> dict[str, Any]:
        return {
            "scene": self.scene,
            "passed": self.passed,
            "measured": self.measured,
            "seconds": round(self.seconds, 1),
            "checks": [c.as_dict() for c in self.checks],
            **({"problem": self.problem} if self.problem else {}),
            **({"starved": self.starved} if self.starved else {}),
        }
