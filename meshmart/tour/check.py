"""What a scene measured, held against its bound. Pure."""

import operator
from dataclasses import dataclass
from typing import Any, Literal

_COMPARE = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of a scene and the bound that it must keep."""

    what: str
    measured: float
    bound: float
    unit: str = ""
    relation: Literal["<=", ">=", "=="] = "<="

    @property
    def passed(self) -> bool:
        """A figure that is not a number keeps no bound."""
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
            "passed": self.passed,
        }


def _figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else f"{value:.3f}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A scene's end: its checks, or the reason why it could not be played."""

    scene: str
    checks: tuple[Check, ...] = ()
    problem: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.problem and bool(self.checks) and all(c.passed for c in self.checks)

    def as_dict(self) -> dict[str, Any]:
        return {
            "scene": self.scene,
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "checks": [c.as_dict() for c in self.checks],
            **({"problem": self.problem} if self.problem else {}),
        }
