"""`meshmart logs product/1 -f`."""

import sys
import time
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from local.state import StateDir
from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption

_POLL = 0.2


def logs(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE[/NUMBER]", help="Service or replica; also supervisor, migrate or traces."
        ),
    ],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Print new lines until Ctrl-C.")] = False,
    tail: Annotated[
        int, typer.Option("-n", "--tail", help="Print only this many last lines of each log; -1: all.")
    ] = -1,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Prints the logs of replicas, including those that no longer run."""
    state = StateDir(state_dir)
    found = find(state, what)
    if not found:
        raise CommandError(f"there are no logs of {what} in {state.logs}; there are: {_names(state)}")
    files = {path: Tail(path, tail) for path in found}
    try:
        _print(files)
        while follow:
            time.sleep(_POLL)
            for path in find(state, what):
                files.setdefault(path, Tail(path, -1))
            _print(files)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def find(state: StateDir, what: str) -> list[Path]:
    """Return the log files of `product` (every replica), `product/1` or `supervisor`."""
    service, separator, number = what.partition("/")
    if separator:
        return [p for p in [state.log(f"{service}-{number}")] if p.exists()]
    pattern = [state.log(service), *state.logs.glob(f"{service}-*.log")]
    return sorted((p for p in pattern if p.exists()), key=lambda p: (len(p.name), p.name))


class Tail:
    """Reads a growing file line by line, and starts again when the file was truncated.

    Args:
        path: The file.
        lines: The number of last lines to read of the present content; -1 reads all.
    """

    def __init__(self, path: Path, lines: int) -> None:
        self._path, self._lines = path, lines
        self._position = 0
        self._rest = b""

    def read(self) -> list[bytes]:
        """Return the lines that were added since the last call."""
        with self._path.open("rb") as f:
            text = self._rest + self._new(f)
        *complete, self._rest = text.split(b"\n")
        wanted, self._lines = self._lines, -1
        return complete if wanted < 0 else complete[len(complete) - wanted :]

    def _new(self, f: BinaryIO) -> bytes:
        if f.seek(0, 2) < self._position:
            self._position, self._rest = 0, b""
        f.seek(self._position)
        data = f.read()
        self._position += len(data)
        return data


def _print(files: dict[Path, Tail]) -> None:
    for path, tail in files.items():
        prefix = f"{path.stem} | ".encode() if len(files) > 1 else b""
        for line in tail.read():
            sys.stdout.buffer.write(prefix + line + b"\n")
    sys.stdout.flush()


def _names(state: StateDir) -> str:
    return ", ".join(sorted(p.stem for p in state.logs.glob("*.log"))) or "none"
