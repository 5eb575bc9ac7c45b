"""The config module of Tilt's API: settings from the command line."""

from typing import Any

from tests.tilt.session import TiltError


class Config:
    """Reads what follows `tilt up --`.

    Args:
        args: For example `["product", "--allow-context=other"]`.
    """

    def __init__(self, args: list[str]) -> None:
        self._args = args
        self._names: list[str] = []
        self._single: set[str] = set()
        self._positional: str | None = None
        self._parsed = False

    def define_string(self, name: str, args: bool = False, usage: str = "") -> None:
        self.define_string_list(name, args, usage)
        self._single.add(name)

    def define_string_list(self, name: str, args: bool = False, usage: str = "") -> None:
        if self._parsed:
            raise TiltError("config.define_… after config.parse")
        self._names.append(name)
        if args:
            self._positional = name

    def parse(self) -> dict[str, Any]:
        """Those that were given; the rest are absent, as in Tilt."""
        if self._parsed:
            raise TiltError("config.parse was called twice")
        self._parsed = True
        found: dict[str, Any] = {}
        for each in self._args:
            name, _, value = each.removeprefix("--").partition("=")
            if each.startswith("--"):
                if name not in self._names or name == self._positional:
                    raise TiltError(f"unknown flag: --{name}")
                if name in self._single:
                    found[name] = value  # the last one counts
                else:
                    found.setdefault(name, []).append(value)
            elif self._positional is None:
                raise TiltError(f"positional args were specified, but none were expected: {each}")
            else:
                found.setdefault(self._positional, []).append(each)
        return found
