"""`meshmart remove service`: removes a service from a checkout of this project."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Remove something from a checkout of this project.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Remove something from a checkout of this project."""


@app.command("service")
def service(name: Annotated[str, typer.Argument(help="Name of the service, such as review.")]) -> None:
    """Deletes a service's folder, tests and proto, and what followed from them. Prints what was deleted.

    Refuses while other code uses the service. Its data stays in the databases.
    """
    from meshmart.scaffold.service import checkout, remove

    for path in remove(checkout(Path.cwd()), name):
        typer.echo(path)
