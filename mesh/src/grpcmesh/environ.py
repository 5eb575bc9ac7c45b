"""Reads settings from environment variables into dataclasses, and collects all mistakes."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal


class ConfigError(Exception):
    """Raised if settings are wrong. `problems` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def require(condition: bool, problem: str) -> None:
    """Raise ConfigError with this problem, unless the condition holds."""
    if not condition:
        raise ConfigError([problem])


_T = typing.TypeVar("_T")


class EnvironReader:
    """Reads dataclasses from variables, and collects the mistakes in `problems`.

    Args:
        environ: The variables for these dataclasses, and no others.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.known: set[str] = set()
        self.problems: list[str] = []

    def read(self, cls: type[_T], prefix: str, defaults: Mapping[str, Any]) -> _T | None:
        values: dict[str, Any] = dict(defaults)
        hints = typing.get_type_hints(cls)
        for f in dataclasses.fields(cls):  # type: ignore[arg-type]
            variable, hint = f"{prefix}_{f.name.upper()}", hints[f.name]
            if dataclasses.is_dataclass(hint):
                values[f.name] = self.read(typing.cast(type, hint), variable, {})
                continue
            self.known.add(variable)
            if variable in self.environ:
                self._put(values, f.name, variable, hint)
        try:
            return cls(**values)
        except ConfigError as e:
            self.problems += [f"{prefix}: {p}" for p in e.problems]
        except TypeError as e:
            self.problems.append(f"{prefix}: {e}")
        return None

    def _put(self, values: dict[str, Any], name: str, variable: str, hint: Any) -> None:
        raw = self.environ[variable]
        try:
            values[name] = _parse(raw, hint)
        except ValueError as e:
            self.problems.append(f"{variable}={raw!r}: {e}")

    def reject_unknown(self) -> None:
        for variable in sorted(self.environ.keys() - self.known):
            self.problems.append(f"{variable}: no such setting")


def _parse(raw: str, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if raw not in args:
            raise ValueError(f"must be one of {', '.join(map(str, args))}")
        return raw
    if origin is tuple:
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if origin in (dict, Mapping, typing.get_origin(Mapping[str, str])):
        return {key: _value(value, args[1]) for key, value in map(_pair, filter(str.strip, raw.split(",")))}
    if hint == Path | None:
        return Path(raw) if raw else None
    if hint is bool:
        return _parse_bool(raw)
    if hint is float:
        return _parse_float(raw)
    return hint(raw)


def _parse_float(raw: str) -> float:
    value = float(raw)
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _value(raw: str, hint: Any) -> Any:
    """Parse a value of a mapping. Values other than numbers are checked by the dataclass."""
    return float(raw) if hint is float else raw


def _parse_bool(raw: str) -> bool:
    if raw.lower() in ("true", "1", "yes", "on"):
        return True
    if raw.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _pair(part: str) -> tuple[str, str]:
    key, separator, value = part.partition("=")
    if not separator:
        raise ValueError(f"{part!r} is not name=value")
    return key.strip(), value.strip()
