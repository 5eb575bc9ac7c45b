"""`meshmart admin create`: makes somebody who may do everything, such as the first admin of a shop."""

import asyncio
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there

app = typer.Typer(help="Admins, made on the operator's word: it takes no other admin.", no_args_is_help=True)


@app.callback()
def admin() -> None:
    """A group of verbs, although there is only one."""


@app.command("create")
@here_or_there
def create(
    name: Annotated[str, typer.Argument(help="By which the admin logs in.")],
    email: Annotated[str, typer.Option(help="Likewise.")],
    password: Annotated[
        str,
        typer.Option(
            envvar="MESHMART_ADMIN_PASSWORD",
            help="Better given by the variable; without one it is made up, and printed once.",
        ),
    ] = "",
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Registers a user with the roles user and admin."""
    made_up = "" if password else secrets.token_urlsafe(15)
    number = asyncio.run(_create(state_dir, name, email, password or made_up))
    sys.stderr.write(f"admin {name} is user {number}\n")
    if made_up:
        typer.echo(made_up)


async def _create(state_dir: Path, name: str, email: str, password: str) -> int:
    import grpc
    from ecommerce import user_pb2
    from ecommerce.user_pb2_grpc import UserServiceStub

    from meshmart.operator import join

    request = user_pb2.CreateUserRequest(name=name, email=email, password=password)
    async with join(state_dir) as joined:
        try:
            answer = await UserServiceStub(joined.member.channel("user")).CreateAdmin(request, timeout=10)
        except grpc.aio.AioRpcError as e:
            raise CommandError(f"{name}: {e.code().name}: {e.details()}") from e
    return int(answer.user.id)
