"""`meshmart audit`: checks the shop's books and prints the sums."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from local.options import parse_duration
from local.words import plural
from meshmart.ask import parsed
from meshmart.options import DEFAULT, StateDirOption, here_or_there

if TYPE_CHECKING:
    from meshmart.books.model import Books
    from meshmart.books.verdict import Verdict

#: Poll interval of books that are not settled, in seconds.
_GLANCE = 0.5


@here_or_there
def audit(
    settle: Annotated[
        str, typer.Option(help="Wait up to this long for unfinished work; what is left then is an error.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Checks orders, payments, the acquirer's ledger, stock and notifications against each other.

    Fails if they do not add up, and names the rule that is broken (docs/orders.md). Reads STATE_DIR/data, or
    MESHMART_DATABASE_URL, whether or not the shop runs.
    """
    patience = parsed(parse_duration, settle) if settle else None
    verdict = asyncio.run(settled(state_dir / "data", os.environ, patience or 0.0))
    if as_json:
        typer.echo(json.dumps(verdict.as_dict(), indent=2))
    else:
        show(verdict)
    if not (verdict.balanced if patience is None else verdict.settled):
        raise typer.Exit(1)


async def settled(data: Path, environ: Mapping[str, str], patience: float = 0.0) -> "Verdict":
    """Return the verdict on the books.

    Args:
        data: The directory of the SQLite files.
        environ: MESHMART_DATABASE_URL takes precedence over them.
        patience: Seconds for which books that are not settled are read again.

    Raises:
        CommandError: the books cannot be read.
    """
    from meshmart.books.read import audit

    end = time.monotonic() + patience
    while True:
        verdict = await audit(data, environ)
        if verdict.settled or time.monotonic() >= end:
            return verdict
        await asyncio.sleep(_GLANCE)


async def audited(data: Path, environ: Mapping[str, str], patience: float = 0.0) -> "tuple[Verdict, Books]":
    """Return the verdict on the books, and the orders placed by a scene or a benchmark.

    Arguments as for `settled`.
    """
    from meshmart.books.read import read

    return await settled(data, environ, patience), await read(data, environ)


def show(verdict: "Verdict") -> None:
    """Print the sums, the problems and what is unfinished, for a person."""
    from meshmart.books.verdict import first

    counted = ", ".join(f"{count:,} {status}" for status, count in verdict.orders.items())
    typer.echo(f"       {plural(f'{sum(verdict.orders.values()):,}', 'order')}: {counted or 'none yet'}")
    for each in verdict.sums:
        mark, colour = ("ok", typer.colors.GREEN) if each.even else ("WRONG", typer.colors.RED)
        typer.echo(typer.style(f"{mark:<6}", fg=colour) + f" {each}")
    for problem in first(verdict.problems):
        typer.echo(typer.style("WRONG ", fg=typer.colors.RED) + f" {problem}")
    for line in first(verdict.unfinished):
        typer.echo(typer.style("open  ", fg=typer.colors.YELLOW) + f" {line}")
    typer.echo("the books add up" if verdict.balanced else "the books do NOT add up")
