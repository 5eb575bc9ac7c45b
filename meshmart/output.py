"""Tables for a person at a terminal, and for a program: never wrapped for the latter."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

#: How wide the terminal is where the output goes in the end: with `--context`, the one of whoever asks.
COLUMNS = "MESHMART_COLUMNS"
#: Wider than any line.
_ENDLESS = 10_000


def console() -> "Console":
    """Writes to standard output: as wide as the terminal, and in a pipe or a file as wide as the lines are.

    COLUMNS is not asked: a shell exports it to programs whose output goes elsewhere.
    """
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    told = os.environ.get(COLUMNS, "")
    width = int(told) if told.isdecimal() and int(told) else _ENDLESS
    return Console(width=width, highlight=False)


def watched() -> bool:
    """Whether a person sees standard error as it is written, here or where this was started from."""
    return sys.stderr.isatty() or COLUMNS in os.environ


def columns() -> str:
    """For `COLUMNS` of a command that runs elsewhere and whose output is shown here; empty: no terminal."""
    return str(os.get_terminal_size(sys.stdout.fileno()).columns) if sys.stdout.isatty() else ""
