"""The result of an audit."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.kit.money import from_cents

#: The most problems that are listed for one rule.
MOST = 100


@dataclass(frozen=True, slots=True)
class Sum:
    """Two figures from different places that must be equal."""

    section: str
    left: str
    left_value: int
    right: str
    right_value: int
    cents: bool = False

    @property
    def even(self) -> bool:
        return self.left_value == self.right_value

    def figure(self, value: int) -> str:
        """Format a figure for a person."""
        return f"{from_cents(value):,.2f}" if self.cents else f"{value:,}"

    def __str__(self) -> str:
        relation = "=" if self.even else "is not"
        left, right = self.figure(self.left_value), self.figure(self.right_value)
        return f"{self.section}: {self.left} {left} {relation} {self.right} {right}"


@dataclass(slots=True)
class Verdict:
    """The sums, the problems, and what is not finished yet and so not wrong."""

    sums: list[Sum] = field(default_factory=list)
    #: At most `MOST` for each rule.
    problems: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    #: Orders by status.
    orders: dict[str, int] = field(default_factory=dict)
    #: The number of violations, by the name of a broken rule.
    broken: dict[str, int] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Return whether the books add up, as far as they are finished."""
        return not self.problems and all(s.even for s in self.sums)

    @property
    def settled(self) -> bool:
        """Return whether the books add up and nothing is unfinished."""
        return self.balanced and not self.unfinished

    def break_rule(self, name: str, problems: Iterable[str]) -> None:
        """Record the violations of a rule, if there are any."""
        told, count = _bounded(problems)
        if count:
            self.broken[name] = count
            self.problems += [f"{problem} [{name}]" for problem in told]

    def leave_open(self, lines: Iterable[str]) -> None:
        """Record what is not finished."""
        self.unfinished += _bounded(lines)[0]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data, for `--json`. Amounts are in cents."""
        return {
            "balanced": self.balanced,
            "settled": self.settled,
            "orders": self.orders,
            "sums": [
                {
                    "section": s.section,
                    s.left: s.left_value,
                    s.right: s.right_value,
                    "unit": "cents" if s.cents else "",
                    "even": s.even,
                }
                for s in self.sums
            ],
            "problems": self.problems,
            "broken": self.broken,
            "unfinished": self.unfinished,
        }


def _bounded(lines: Iterable[str]) -> tuple[list[str], int]:
    """Return the first `MOST` lines, with one for the others, and the number of all lines."""
    told, count = list[str](), 0
    for count, line in enumerate(lines, 1):  # the last count is the number
        if count <= MOST:
            told.append(line)
    if count > MOST:
        told.append(f"and {count - MOST} more of the kind")
    return told, count


def first(lines: Sequence[str], most: int = 20) -> list[str]:
    """Return the first `most` lines, and a line with the number of the others."""
    return [*lines[:most], f"and {len(lines) - most} more"] if len(lines) > most else list(lines)
