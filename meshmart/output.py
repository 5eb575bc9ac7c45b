"""Prints tables for a person at a terminal, and unwrapped for a program."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: The variable with the width of the terminal that finally shows the output: with `--context`, the caller's.
COLUMNS = "MESHMART_COLUMNS"
#: Wider than any line.
_ENDLESS = 10_000


def console() -> "Console":
    """Return a console on standard output, as wide as the terminal; in a pipe or a file, as wide as the
    lines.

    COLUMNS is ignored: a shell exports it to programs whose output goes elsewhere.
    """
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    told = os.environ.get(COLUMNS, "")
    width = int(told) if told.isdecimal() and int(told) else _ENDLESS
    return Console(width=width, highlight=False)


def watched() -> bool:
    """Return whether a person sees standard error as it is written, here or where this was started from."""
    return sys.stderr.isatty() or COLUMNS in os.environ


def columns() -> str:
    """Return the value of `COLUMNS` for a command that runs elsewhere; empty if there is no terminal."""
    return str(os.get_terminal_size(sys.stdout.fileno()).columns) if sys.stdout.isatty() else ""
