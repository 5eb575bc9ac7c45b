"""`meshmart scale product=5`."""

from typing import TYPE_CHECKING, Annotated

import typer

from local.options import parse_count
from local.words import plural
from meshmart.ask import ask, parsed
from meshmart.options import DEFAULT, StateDirOption, here_or_there

if TYPE_CHECKING:
    from meshmart.cluster import Cluster


@here_or_there
def scale(
    counts: Annotated[list[str], typer.Argument(metavar="SERVICE=NUMBER…")],
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Sets the number of replicas. Returns when the new ones are ready, or the surplus ones drained."""
    wanted = [parsed(parse_count, text) for text in counts]

    async def operation(cluster: "Cluster") -> None:
        for service, replicas in wanted:
            await cluster.scale(service, replicas)
            typer.echo(f"{service} has {plural(replicas, 'replica')}")

    ask(state_dir, operation)
