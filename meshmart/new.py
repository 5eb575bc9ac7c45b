"""`meshmart new service`: adds a service to a checkout of this project."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Add something to a checkout of this project.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Add something to a checkout of this project."""


@app.command("service")
def service(name: Annotated[str, typer.Argument(help="Name of the service, such as review.")]) -> None:
    """Adds a service that stores texts: proto, code, manifest, tests (docs/add-a-service.md).

    Then generates what follows from its proto and its manifest. Work in the checkout, with .venv made by
    `make setup-dev`.
    """
    from meshmart.scaffold.service import add, checkout

    for path in add(checkout(Path.cwd()), name):
        typer.echo(path)
