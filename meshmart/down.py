"""`meshmart down`."""

import asyncio

import typer

from local.client import ControlClient
from local.state import holder
from meshmart.ask import say
from meshmart.options import DEFAULT, StateDirOption


def down(state_dir: StateDirOption = DEFAULT) -> None:
    """Drains and stops the cluster. Returns when all its processes have ended. Stored data stays."""
    client = ControlClient(state_dir)
    if holder(client.state) is None:
        typer.echo(f"no cluster is running in {client.state.path}", err=True)
        return
    asyncio.run(client.down(say))
    typer.echo("the cluster is down")
