"""Evaluates a Tiltfile with a real Starlark interpreter (starlark-pyo3) over the API of this package.

Starlark in Rust and Tilt's Starlark in Go differ in corners: here is no `set`, and f-strings are in neither.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import starlark

from tests.tilt import extensions
from tests.tilt.api import Api
from tests.tilt.config import Config
from tests.tilt.extensions import Extensions
from tests.tilt.session import Session
from tests.tilt.signatures import checked


def evaluate(
    root: Path, args: list[str] | None = None, subcommand: str = "up", context: str = "kind-meshmart"
) -> Session:
    """What `tilt SUBCOMMAND -- ARGS` in `root` would declare.

    Raises:
        TiltError, starlark.StarlarkError: the Tiltfile is refused.
    """
    session = Session()
    Host(session, root, Config(args or []), subcommand, context).load(root / "Tiltfile")
    session.assemble()
    return session


class Host:
    """Files and what they may call.

    Args:
        session: Takes down what is declared.
        root: The directory of the Tiltfile.
        config: The command line.
        subcommand: up, ci, down …
        context: Of kubectl.
    """

    def __init__(self, session: Session, root: Path, config: Config, subcommand: str, context: str) -> None:
        self._api = Api(session, config, context)
        self._extensions = Extensions(session, str(root), subcommand)
        self._prelude = _namespaces(_callables(self._api), root, subcommand)
        self._loaded: dict[str, starlark.FrozenModule] = {}
        self._dialect = starlark.Dialect.extended()
        self._globals = starlark.Globals.extended_by(
            [starlark.LibraryExtension.StructType, starlark.LibraryExtension.Print]
        )

    def load(self, path: Path) -> starlark.FrozenModule:
        """A file, evaluated once however often it is loaded."""
        key = str(path.resolve())
        if key not in self._loaded:
            self._loaded[key] = self._evaluate(path)
        return self._loaded[key]

    def _evaluate(self, path: Path) -> starlark.FrozenModule:
        module = starlark.Module()
        for name, function in _callables(self._api).items():
            module.add_callable(name, checked(function))
        self._run(module, "prelude", self._prelude)
        loader = starlark.FileLoader(lambda name: self._find(name, path.parent))
        self._run(module, str(path), path.read_text(), loader)
        return module.freeze()

    def _find(self, name: str, directory: Path) -> starlark.FrozenModule:
        if not name.startswith("ext://"):
            return self.load(directory / name)
        module = starlark.Module()
        for each in extensions.EXPORTS[name.removeprefix("ext://")]:
            if each != "location":
                module.add_callable(each, checked(getattr(self._extensions, each)))
        self._run(module, name, extensions.PRELUDE)
        return module.freeze()

    def _run(self, module: Any, name: str, text: str, loader: Any = None) -> None:
        starlark.eval(module, starlark.parse(name, text, self._dialect), self._globals, loader)


def _callables(api: Api) -> dict[str, Callable[..., Any]]:
    return {name: getattr(api, name) for name in dir(api) if not name.startswith("_")}


def _namespaces(callables: dict[str, Any], root: Path, subcommand: str) -> str:
    """Starlark that makes `os.path.join` of `os__path__join`, and the constants."""
    of = {
        prefix: ", ".join(
            f"{name.removeprefix(prefix + '__')}={name}"
            for name in callables
            if name.startswith(prefix + "__") and "__" not in name.removeprefix(prefix + "__")
        )
        for prefix in ("config", "os", "os__path", "v1alpha1")
    }
    constants = f"main_dir={str(root)!r}, tilt_subcommand={subcommand!r}"
    return (
        f"config = struct({of['config']}, {constants})\n"
        f"os = struct({of['os']}, path=struct({of['os__path']}))\n"
        f"v1alpha1 = struct({of['v1alpha1']})\n"
        "TRIGGER_MODE_AUTO = 'auto'\nTRIGGER_MODE_MANUAL = 'manual'\n"
    )
