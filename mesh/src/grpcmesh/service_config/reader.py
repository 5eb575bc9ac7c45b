"""Reads decoded JSON with checks, and collects all mistakes with their place (`methodConfig[0].timeout`)."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc

_T = TypeVar("_T")
_NUMBER = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"-?\d{1,19}", re.ASCII)
_DURATION = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
#: The range of google.protobuf.Duration.
_MAX_SECONDS = 315_576_000_000
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Problems = list[str]


class Mistake(Exception):  # noqa: N818 - it never leaves the parser
    """Raised for a value that is not as expected. The text says what is expected."""


class Fields(dict[str, Any]):
    """The fields of a JSON object, and the names that it has more than once. The last value counts."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs) if len(self) < len(pairs) else {}
        self.twice = [name for name, count in counts.items() if count > 1]


class JsonObject:
    """A JSON object that is being read. Each field is taken once, and `finish` reports the remaining ones.

    Args:
        value: The decoded JSON. If it is no object, that is reported.
        path: The place of the object; empty for the whole config.
        problems: A list to which mistakes are added.
    """

    def __init__(self, value: Any, path: str, problems: Problems) -> None:
        self.path, self.problems = path, problems
        #: Whether the value is no object. Then absent fields are not reported, because that is one mistake.
        self._broken = not isinstance(value, Mapping)
        if self._broken:
            self.report("", f"must be an object, is {shown(value)}")
            value = {}
        self._fields: dict[str, Any] = dict(value)
        for name in value.twice if isinstance(value, Fields) else ():
            self.report(name, "stands twice")

    def place(self, name: str) -> str:
        """Return the path of a field."""
        if not name.isprintable() or len(name) > 60:
            name = shown(name)
        return f"{self.path}.{name}" if self.path and name else self.path or name

    def report(self, name: str, problem: str) -> None:
        """Report a mistake in a field, or in the object itself if the name is empty."""
        self.problems.append(f"{self.place(name) or 'service config'}: {problem}")

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def has(self, name: str) -> bool:
        """Return whether a required field is present. Report it if it is not."""
        if name not in self._fields and not self._broken:
            self.report(name, "is missing")
        return name in self._fields

    def take(self, name: str, parse: Callable[[Any], _T], default: _T, *, required: bool = False) -> _T:
        """Take a field. Return it as parsed by `parse`, or the default if it is absent or wrong."""
        if not (self.has(name) if required else name in self._fields):
            return default
        value = self._fields.pop(name)
        try:
            return parse(value)
        except Mistake as e:
            self.report(name, str(e))
            return default

    def child(self, name: str, read: Callable[["JsonObject"], _T]) -> _T | None:
        """Take a field with an object. Return it as read by `read`, or None if it is absent."""
        if name not in self._fields:
            return None
        return self._read(self._fields.pop(name), self.place(name), read)

    def children(self, name: str, read: Callable[["JsonObject"], _T]) -> list[_T]:
        """Take a field with a list of objects. Return each as read by `read`."""
        items: list[Any] = self.take(name, a_list, [])
        return [self._read(item, f"{self.place(name)}[{i}]", read) for i, item in enumerate(items)]

    def _read(self, value: Any, path: str, read: Callable[["JsonObject"], _T]) -> _T:
        child = JsonObject(value, path, self.problems)
        result = read(child)
        child.finish()
        return result

    def rest(self) -> dict[str, Any]:
        """Take all remaining fields."""
        fields, self._fields = self._fields, {}
        return fields

    def finish(self) -> None:
        """Report all remaining fields as unknown."""
        for name in self._fields:
            self.report(name, "no such setting")


def shown(value: Any) -> str:
    """Return a value for an error message: short, on one line."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def a_list(value: Any) -> list[Any]:
    """Parse a JSON array. Raises Mistake."""
    if not isinstance(value, list):
        raise Mistake(f"must be a list, is {shown(value)}")
    return value


def a_bool(value: Any) -> bool:
    """Parse a JSON boolean. Raises Mistake."""
    if not isinstance(value, bool):
        raise Mistake(f"must be true or false, is {shown(value)}")
    return value


def a_string(value: Any) -> str:
    """Parse a JSON string. Raises Mistake."""
    if not isinstance(value, str):
        raise Mistake(f"must be a string, is {shown(value)}")
    return value


def whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    """Return a parser of whole numbers within bounds. As in proto3's JSON they may be strings."""

    def parse(value: Any) -> int:
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Mistake(f"must be a whole number, is {shown(value)}")
        if value < least or (most is not None and value > most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            raise Mistake(f"must be {bounds}, is {shown(value)}")
        return value

    return parse


def number(least: float, most: float, *, above: bool = False) -> Callable[[Any], float]:
    """Return a parser of numbers from `least` (above it, with `above`) to `most`; they may be strings."""

    def parse(value: Any) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Mistake(f"must be a number, is {shown(value)}")
        # Compared as it is: a whole number may be larger than any float.
        if not least <= value <= most or (above and value == least):
            raise Mistake(
                f"must be {'above' if above else 'at least'} {least:g} and at most {most:g},"
                f" is {shown(value)}"
            )
        return float(value)

    return parse


def duration(value: Any) -> float:
    """Parse a non-negative proto3 Duration in JSON, such as "1.5s". Return seconds. Raises Mistake."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Mistake(f'must be a duration such as "1.5s", is {shown(value)}')
    seconds = float(f"{match[1]}.{match[2] or 0}")
    if seconds > _MAX_SECONDS:
        raise Mistake(f"must be at most {_MAX_SECONDS}s, is {value}")
    return seconds


def positive_duration(value: Any) -> float:
    """Parse a duration above zero. Return seconds. Raises Mistake."""
    seconds = duration(value)
    if seconds == 0:
        raise Mistake(f"must be above zero, is {value}")
    return seconds


def status_code(value: Any) -> grpc.StatusCode:
    """Parse a status code: its number, or its name in upper or lower case. Raises Mistake."""
    if isinstance(value, str) and value.upper() in grpc.StatusCode.__members__:
        return grpc.StatusCode[value.upper()]
    if isinstance(value, int) and not isinstance(value, bool) and value in _CODES:
        return _CODES[value]
    raise Mistake(f"must be a status code, is {shown(value)}")


def status_codes(value: Any) -> frozenset[grpc.StatusCode]:
    """Parse a list of status codes other than OK. Raises Mistake."""
    codes = frozenset(map(status_code, a_list(value)))
    if grpc.StatusCode.OK in codes:
        raise Mistake("must not name OK, which is no failure")
    return codes
