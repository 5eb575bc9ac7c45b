"""`meshmart restart product`."""

from typing import TYPE_CHECKING, Annotated

import typer

from meshmart.ask import ask
from meshmart.options import DEFAULT, StateDirOption, here_or_there

if TYPE_CHECKING:
    from meshmart.cluster import Cluster


@here_or_there
def restart(
    services: Annotated[list[str], typer.Argument(metavar="SERVICE…")],
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Replaces every replica of a service, one after another, while the others serve."""

    async def operation(cluster: "Cluster") -> None:
        for service in services:
            await cluster.restart(service)
            typer.echo(f"{service} restarted")

    ask(state_dir, operation)
