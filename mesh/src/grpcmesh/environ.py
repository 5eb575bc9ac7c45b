"""Reads settings from environment variables and a TOML file into dataclasses, and collects all mistakes."""

import dataclasses
import math
import tomllib
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from grpcmesh.target import STATIC
from grpcmesh.urls import without_secrets


class ConfigError(Exception):
    """Raised if settings are wrong. `problems` has a line for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def require(condition: bool, problem: str) -> None:
    """Raise ConfigError with this problem, unless the condition holds."""
    if not condition:
        raise ConfigError([problem])


def shortened(text: str, longest: int = 0) -> str:
    """Return the text, or its beginning if it is long."""
    longest = longest or _SHOWN
    return text if len(text) <= longest else f"{text[:longest]}…"


_T = typing.TypeVar("_T")

#: The most characters of a wrong value in a message.
_SHOWN = 200
#: The most bytes of a settings file.
MAX_FILE = 256 * 1024


def read_settings_file(path: Path) -> Mapping[str, Any]:
    """Return the content of a TOML file with settings.

    Raises:
        ConfigError: The file cannot be read, is too large or is no TOML. The error names the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
        require(len(content) <= MAX_FILE, f"{path}: larger than {MAX_FILE} bytes")
        return tomllib.loads(content.decode())
    except OSError as e:
        raise ConfigError([f"{path}: {e.strerror or e}"]) from e
    except ValueError as e:
        raise ConfigError([f"{path}: {e}"]) from e
    except RecursionError as e:
        raise ConfigError([f"{path}: nested too deeply"]) from e


class EnvironReader:
    """Reads dataclasses from variables and from a file, and collects the mistakes in `problems`.

    Args:
        environ: The variables for these dataclasses, and no others. They override the file.
        file: Name of the file, for messages.
        table: The content of the file.
    """

    def __init__(
        self, environ: Mapping[str, str], file: str = "", table: Mapping[str, Any] | None = None
    ) -> None:
        self.environ, self.file, self.table = environ, file, table or {}
        self.known: set[str] = set()
        self.problems: list[str] = []
        #: The source of each setting that is set, by its variable.
        self.origins: dict[str, str] = {}

    def read(
        self, cls: type[_T], prefix: str, defaults: Mapping[str, Any], table: Mapping[str, Any] | None = None
    ) -> _T | None:
        """Return the dataclass, or None if there are mistakes.

        Args:
            prefix: Beginning of the variables' names.
            defaults: Values of fields that nothing sets. That of a field that is a dataclass itself gives
                the defaults of each of its fields.
            table: The part of the file for this dataclass.
        """
        values: dict[str, Any] = dict(defaults)
        hints, rest = typing.get_type_hints(cls), dict(table or {})
        for f in dataclasses.fields(cls):  # type: ignore[arg-type]
            variable, hint = f"{prefix}_{f.name.upper()}", hints[f.name]
            if dataclasses.is_dataclass(hint):
                inner = self._table(rest.pop(f.name, {}), variable)
                given = _fields(values.get(f.name))
                values[f.name] = self.read(typing.cast(type, hint), variable, given, inner)
                continue
            self.known.add(variable)
            in_file, value = f.name in rest, rest.pop(f.name, None)
            if variable in self.environ:
                self._put(values, f.name, variable, self.environ[variable], hint, f"{variable}=")
            elif in_file:
                self._put(values, f.name, variable, value, hint, f"{self._place(variable)} = ")
        self.problems += [f"{self._place(f'{prefix}_{key}')}: no such setting" for key in rest]
        try:
            return cls(**values)
        except ConfigError as e:
            self.problems += [self._told(problem, prefix) for problem in e.problems]
        except TypeError as e:
            self.problems.append(f"{prefix}: {e}")
        return None

    def error(self) -> ConfigError:
        """Return the error with all mistakes, each as a short line without secrets."""
        return ConfigError([shortened(without_secrets(problem), 2 * _SHOWN) for problem in self.problems])

    def reject_unknown(self) -> None:
        """Report variables that no dataclass has."""
        for variable in sorted(self.environ.keys() - self.known):
            self.problems.append(f"{variable}: no such setting")

    def _put(self, values: dict[str, Any], name: str, variable: str, raw: Any, hint: Any, told: str) -> None:
        self.origins[variable] = "environment" if told.startswith(variable) else self.file
        try:
            values[name] = _parse(raw, hint) if isinstance(raw, str) else _converted(raw, hint)
        except ValueError as e:
            # The error names the part of a map that is wrong; others may hold a secret.
            value = (
                "…" if isinstance(raw, str) and typing.get_origin(hint) is Mapping else shortened(repr(raw))
            )
            self.problems.append(f"{told}{value}: {shortened(str(e))}")

    def _told(self, problem: str, prefix: str) -> str:
        """Return what a dataclass found, with the variable or the key of the file instead of its field."""
        field, colon, rest = problem.partition(": ")
        variable = f"MESH_{field.replace('.', '_').upper()}"
        if not colon or variable not in self.known:
            return f"{prefix}: {problem}"
        in_file = self.origins.get(variable) == self.file != ""
        return f"{self._place(variable) if in_file else variable}: {rest}"

    def _table(self, value: Any, variable: str) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        self.problems.append(f"{self._place(variable)}: must be a table")
        return {}

    def _place(self, variable: str) -> str:
        return f"{self.file}: {variable.removeprefix('MESH_').lower()}"


def _fields(group: Any) -> dict[str, Any]:
    """Return the values of a dataclass by the names of its fields; none where there is no dataclass."""
    return {} if group is None else {f.name: getattr(group, f.name) for f in dataclasses.fields(group)}


def _converted(value: Any, hint: Any) -> Any:
    """Convert a value of a TOML file other than a string. Values inside it are parsed like variables."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, Mapping) and origin is Mapping:
        return {key: _value(str(inner), args[1]) for key, inner in value.items()}
    if isinstance(value, list) and origin is tuple:
        return tuple(map(str, value))
    if (
        isinstance(value, bool) == (hint is bool)
        and isinstance(value, int | float)
        and hint in (bool, int, float)
    ):
        return _parse(str(value), hint)
    raise ValueError("must be a string" if hint is str else "has the wrong type")


def _parse(raw: str, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if raw not in args:
            raise ValueError(f"must be one of {', '.join(map(str, args))}")
        return raw
    if origin is tuple:
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if origin is Mapping:
        return {key: _value(value, args[1]) for key, value in _pairs(raw)}
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


def _pairs(raw: str) -> Iterator[tuple[str, str]]:
    """Split `name=value,name=value`. The addresses of a static target have commas, too."""
    parts: list[str] = []
    for part in filter(str.strip, raw.split(",")):
        if "=" not in part and parts and STATIC in parts[-1]:
            parts[-1] += f",{part.strip()}"
        else:
            parts.append(part)
    return map(_pair, parts)


def _pair(part: str) -> tuple[str, str]:
    key, separator, value = part.partition("=")
    if not separator:
        raise ValueError(f"{part!r} is not name=value")
    return key.strip(), value.strip()
