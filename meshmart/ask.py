"""Runs an operation on the running cluster, and shows its progress."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from meshmart.errors import CommandError
from meshmart.running import running

if TYPE_CHECKING:
    from meshmart.cluster import Cluster

T = TypeVar("T")


def ask(state_dir: Path, operation: "Callable[[Cluster], Awaitable[T]]") -> T:
    """Run an operation and return its result. Progress goes to standard error.

    Raises:
        ClusterError: no cluster runs, or the operation failed.
    """

    async def asked() -> T:
        async with running(state_dir, say) as cluster:
            return await operation(cluster)

    return asyncio.run(asked())


def say(text: str) -> None:
    """Print a line of progress on standard error."""
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


def parsed(parse: Callable[[str], T], text: str) -> T:
    """Return the parsed text.

    Raises:
        CommandError: the text is not valid; the message is the parser's.
    """
    try:
        return parse(text)
    except ValueError as e:
        raise CommandError(str(e)) from None
