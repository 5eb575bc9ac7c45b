"""`meshmart kill product/1`."""

from typing import Annotated

import typer

from local.options import parse_replica
from meshmart.ask import ask, parsed
from meshmart.options import DEFAULT, StateDirOption, here_or_there


@here_or_there
def kill(
    replica: Annotated[str, typer.Argument(metavar="SERVICE/NUMBER")],
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Kills a replica's process (kill -9). The cluster starts it again."""
    service, number = parsed(parse_replica, replica)
    killed = ask(state_dir, lambda cluster: cluster.kill(service, number))
    typer.echo(f"{service}/{number} killed ({killed})")
