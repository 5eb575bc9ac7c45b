"""Asks the supervisor, and shows its progress."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from local.client import ControlClient
from meshmart.errors import CommandError

T = TypeVar("T")


def ask(state_dir: Path, verb: str, **arguments: Any) -> Any:
    """One request to the running cluster; progress goes to standard error.

    Raises:
        ClusterError: when no cluster runs, or the request failed.
    """
    return asyncio.run(ControlClient(state_dir).request(verb, say, **arguments))


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


def parsed(parse: Callable[[str], T], text: str) -> T:
    """What the text means.

    Raises:
        CommandError: in the words of the parser.
    """
    try:
        return parse(text)
    except ValueError as e:
        raise CommandError(str(e)) from None
