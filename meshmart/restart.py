"""`meshmart restart product`."""

from typing import Annotated

import typer

from meshmart.ask import ask
from meshmart.options import DEFAULT, StateDirOption


def restart(
    services: Annotated[list[str], typer.Argument(metavar="SERVICE…")],
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Replaces every replica of a service, one after another, while the others serve."""
    for service in services:
        ask(state_dir, "restart", service=service)
        typer.echo(f"{service} restarted")
