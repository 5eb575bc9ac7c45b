"""Reads the keys of a TOML table, and collects a problem for each key that is missing, unknown or wrong."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class TomlTable:
    """A table of a TOML file. Each method reads one key; `close` complains about keys that nobody read.

    Args:
        path: The file and the table's key in it, such as `order/service.toml: embedded.`. Each problem begins
            with it.
        values: The table, as tomllib returns it.
        problems: Receives a line for each mistake.
    """

    def __init__(self, path: str, values: Mapping[str, Any], problems: list[str]) -> None:
        self._path, self._values, self.problems = path, dict(values), problems

    def wrong(self, key: str, problem: str) -> None:
        """Record a problem with a key."""
        self.problems.append(f"{self._path}{key}: {problem}")

    def text(self, key: str, default: str | None) -> str:
        """Return a string. If `default` is None, the key is required."""
        value = self._values.pop(key, default)
        if isinstance(value, str):
            return value
        self.wrong(key, "is missing" if value is None else f"{value!r} is no string")
        return ""

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Return one of several strings."""
        value = self._values.pop(key, default)
        if value not in choices:
            self.wrong(key, f"{value!r} is none of {', '.join(choices)}")
        return str(value)

    def flag(self, key: str) -> bool:
        """Return a boolean; false unless it is there."""
        value = self._values.pop(key, False)
        if not isinstance(value, bool):
            self.wrong(key, f"{value!r} is neither true nor false")
        return bool(value)

    def integer(self, key: str, default: int | None, least: int, most: int) -> int:
        """Return an integer from `least` to `most`. If `default` is None, the key is required."""
        value = self._values.pop(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.wrong(key, "is missing" if value is None else f"{value!r} is no integer from {least} to {most}")
        return least

    def texts(self, key: str, choices: Sequence[str] = ()) -> tuple[str, ...]:
        """Return a list of different strings; empty unless it is there.

        Each must be one of `choices`, if there are any.
        """
        value = self._values.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            self.wrong(key, f"{value!r} is no list of strings")
            return ()
        if len(set(value)) < len(value):
            self.wrong(key, f"{value!r} names something twice")
        if choices and (unknown := sorted(set(value) - set(choices))):
            self.wrong(key, f"{', '.join(unknown)}: there is only {', '.join(choices)}")
        return tuple(value)

    def text_or_texts(
        self, key: str, choices: Sequence[str], default: str, members: Sequence[str]
    ) -> str | tuple[str, ...]:
        """Return one of several strings, or a list of some of `members` that is not empty."""
        value = self._values.get(key, default)
        if isinstance(value, list):
            if not value:
                self.wrong(key, "is an empty list")
            return self.texts(key, members)
        return self.choice(key, choices, default)

    def table(self, key: str) -> "TomlTable":
        """Return a table; an empty one unless it is there."""
        value = self._values.pop(key, {})
        if not isinstance(value, dict):
            self.wrong(key, f"{value!r} is no table")
            value = {}
        return TomlTable(f"{self._path}{key}.", value, self.problems)

    def tables(self) -> Iterator[tuple[str, "TomlTable"]]:
        """Return all entries of this table, which are tables, by key."""
        for key in self.unread():
            yield key, self.table(key)

    def unread(self) -> tuple[str, ...]:
        """Return the keys that have not been read."""
        return tuple(self._values)

    def close(self) -> None:
        """Record a problem for each key that has not been read."""
        for key in self._values:
            self.wrong(key, "there is no such key")
