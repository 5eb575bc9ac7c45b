"""`meshmart token`: logs a seeded user in, and prints the token."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from meshmart.options import DEFAULT, StateDirOption, here_or_there


@here_or_there
def token(
    user: Annotated[str, typer.Option(help="User to log in as: alice (admin), bob or charlie.")],
    password: Annotated[
        str, typer.Option(help="The user's password; the seeded one by default.", envvar="MESHMART_PASSWORD")
    ] = "",
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Prints a JWT for a user, from UserService.Login."""
    typer.echo(asyncio.run(_login(state_dir, user, password or f"{user}-password")))


async def _login(state_dir: Path, user: str, password: str) -> str:
    from meshmart.operator import join
    from services.loadgen.session import login

    async with join(state_dir) as joined:
        response = await login(joined.member.channel, user, password)
        return str(response.access_token)
