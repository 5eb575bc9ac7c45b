"""`meshmart call`: one call through the mesh, JSON in and out."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from local.catalog import OPERATOR
from local.options import parse_duration
from meshmart.ask import parsed
from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there

if TYPE_CHECKING:
    from meshmart.cluster import Cluster

#: The value of `--as` for a client without a certificate.
NOBODY = "none"


@here_or_there
def call(
    method: Annotated[str, typer.Argument(help="Full name, such as ecommerce.ProductService/GetProduct.")],
    request: Annotated[
        str, typer.Argument(help="Request as JSON; for a client stream, a list of requests.")
    ] = "{}",
    as_: Annotated[
        str, typer.Option("--as", help="Workload to call as; none: without a certificate.")
    ] = "client",
    token: Annotated[str, typer.Option(help="A user's access token (JWT).", envvar="MESHMART_TOKEN")] = "",
    timeout: Annotated[str, typer.Option(help="Deadline of the call, such as 500ms or 10s.")] = "10s",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print which replica answered.")] = False,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Makes one call and prints each response as a line of JSON."""
    asyncio.run(_call(state_dir, method, request, as_, token, parsed(parse_duration, timeout), verbose))


async def _call(
    state_dir: Path, name: str, text: str, identity: str, token: str, timeout: float, verbose: bool
) -> None:
    from meshmart import methods
    from meshmart.operator import join

    method = methods.find(name)
    messages = methods.requests(method, text)
    target = methods.target(method)
    metadata = [("authorization", f"Bearer {token}")] if token else []
    async with join(state_dir, identity=OPERATOR if identity == NOBODY else identity) as joined:
        channel = joined.member.channel(target)
        if identity == NOBODY:
            channel = await _anonymous(joined.cluster, target)
        answers = methods.invoke(channel, method, messages, metadata=metadata, timeout=timeout)
        async for answer in answers:
            typer.echo(methods.to_json(answer))
        if verbose:
            typer.echo(json.dumps(joined.member.state()["targets"]), err=True)


async def _anonymous(cluster: "Cluster", target: str) -> Any:
    """Return a channel to the first replica that presents no client certificate."""
    from meshmart.tour.peer import anonymous_channel

    replicas = [r for r in await cluster.endpoints(target) if r.host]
    if not replicas:
        raise CommandError(f"{target} has no replica")
    return anonymous_channel(replicas[0], cluster.certificates)
