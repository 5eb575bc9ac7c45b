"""Typed and bounded arguments of actions. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from meshmart.console.refusal import RefusedError

#: Matches the names of services and methods (DNS labels, protobuf identifiers).
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}", re.ASCII)


class Parameter(Protocol):
    """A parameter of an action."""

    @property
    def name(self) -> str: ...

    def parse(self, given: Any) -> Any:
        """Return the value; `given` is None if there is none.

        Raises:
            ValueError: the value is not valid. The message completes "replica must be …".
        """

    def told(self) -> dict[str, Any]:
        """Return the parameter for the page, as JSON's types."""


@dataclass(frozen=True, slots=True)
class Name:
    """The name of a service or a method; empty only if it is optional."""

    name: str
    optional: bool = False

    def parse(self, given: Any) -> str:
        if self.optional and given in (None, ""):
            return ""
        if not isinstance(given, str) or not _NAME.fullmatch(given):
            raise ValueError("a name")
        return given

    def told(self) -> dict[str, Any]:
        return {"kind": "name", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds. `default` is used if none is given; if it is None, the argument is required."""

    name: str
    least: float
    most: float
    default: float | None = None
    whole: bool = False

    def parse(self, given: Any) -> float:
        value = self.default if given is None else given
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not self.least <= value <= self.most
        ):
            raise ValueError(f"a number from {self.least:g} to {self.most:g}")
        if not self.whole:
            return float(value)
        if value != int(value):
            raise ValueError("a whole number")
        return int(value)

    def told(self) -> dict[str, Any]:
        return {"kind": "number", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several words. The first is used if none is given."""

    name: str
    options: tuple[str, ...]

    def parse(self, given: Any) -> str:
        value = self.options[0] if given is None else given
        if value not in self.options:
            raise ValueError(f"one of {', '.join(self.options)}")
        return str(value)

    def told(self) -> dict[str, Any]:
        return {"kind": "choice", **asdict(self)}


def parse(parameters: Sequence[Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by name.

    Raises:
        RefusedError: an argument is missing, out of bounds, or unknown.
    """
    if unknown := given.keys() - {p.name for p in parameters}:
        raise RefusedError(400, f"there is no argument {min(unknown)[:60]!r}")
    parsed = {}
    for parameter in parameters:
        try:
            parsed[parameter.name] = parameter.parse(given.get(parameter.name))
        except ValueError as e:
            raise RefusedError(400, f"{parameter.name} must be {e}") from None
    return parsed
