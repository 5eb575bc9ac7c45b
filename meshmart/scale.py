"""`meshmart scale product=5`."""

from typing import Annotated

import typer

from local.options import parse_count
from meshmart.ask import ask, parsed
from meshmart.options import DEFAULT, StateDirOption


def scale(
    counts: Annotated[list[str], typer.Argument(metavar="SERVICE=NUMBER…")],
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Runs another number of replicas; returns when they are ready, or drained."""
    for service, replicas in [parsed(parse_count, text) for text in counts]:
        ask(state_dir, "scale", service=service, replicas=replicas)
        typer.echo(f"{service} has {replicas} replicas")
