"""`meshmart admin`: changes users on behalf of the operator, and prints the audit log."""

import asyncio
import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there
from services.manifest import shop

app = typer.Typer(help="Manage users as the operator; no admin account is needed.", no_args_is_help=True)

_LoginArgument = Annotated[str, typer.Argument(help="The user's name or email.")]
_ReasonOption = Annotated[
    str, typer.Option(help="Reason to record in the audit log, which keeps it for ever.")
]
#: The timeout of a call, in seconds.
_TIMEOUT = 10.0
#: The services that keep an audit log.
LOGGING = tuple(sorted(name for name, manifest in shop().items() if "ListAuditLog" in manifest.methods))
_MOST = 100


@app.command("create")
@here_or_there
def create(
    name: Annotated[str, typer.Argument(help="User name with which the admin logs in.")],
    email: Annotated[str, typer.Option(help="Email address with which the admin can log in instead.")],
    password: Annotated[
        str,
        typer.Option(
            envvar="MESHMART_ADMIN_PASSWORD",
            help="Password. Prefer the variable; if neither is set, one is generated and printed once.",
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
            answer = await UserServiceStub(joined.member.channel("user")).CreateAdmin(
                request, timeout=_TIMEOUT
            )
        except grpc.aio.AioRpcError as e:
            raise CommandError(f"{name}: {e.code().name}: {e.details()}") from e
    return int(answer.user.id)


@app.command("suspend")
@here_or_there
def suspend(login: _LoginArgument, reason: _ReasonOption = "", state_dir: StateDirOption = DEFAULT) -> None:
    """Suspends a user: it can no longer log in, and within a minute every service refuses its tokens."""
    from ecommerce import user_pb2

    request = user_pb2.SetUserStatusRequest(login=login, status=user_pb2.USER_STATUS_SUSPENDED, reason=reason)
    asyncio.run(_change(state_dir, "SetUserStatus", request))
    sys.stderr.write(f"{login} is suspended; its tokens are refused everywhere within a minute\n")


@app.command("activate")
@here_or_there
def activate(login: _LoginArgument, reason: _ReasonOption = "", state_dir: StateDirOption = DEFAULT) -> None:
    """Activates a suspended user, which can then log in again."""
    from ecommerce import user_pb2

    request = user_pb2.SetUserStatusRequest(login=login, status=user_pb2.USER_STATUS_ACTIVE, reason=reason)
    asyncio.run(_change(state_dir, "SetUserStatus", request))
    sys.stderr.write(f"{login} may log in\n")


@app.command("roles")
@here_or_there
def roles(
    login: _LoginArgument,
    names: Annotated[list[str], typer.Argument(help="The new roles: user, moderator or admin.")],
    reason: _ReasonOption = "",
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Replaces a user's roles. The user has to log in again."""
    from ecommerce import user_pb2

    request = user_pb2.SetUserRolesRequest(login=login, roles=names, reason=reason)
    asyncio.run(_change(state_dir, "SetUserRoles", request))
    sys.stderr.write(f"{login} has the roles {', '.join(names)}\n")


@app.command("log")
@here_or_there
def log(
    service: Annotated[str, typer.Option(help="Show only this service, such as product.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=_MOST, help="Number of entries of each service.")] = 20,
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Prints the audit log: what admins and the operator did, one JSON object per line, the oldest first."""
    if service and service not in LOGGING:
        raise CommandError(f"{service!r} keeps no audit log; {', '.join(LOGGING)} do")
    for line in asyncio.run(_log(state_dir, (service,) if service else LOGGING, limit)):
        typer.echo(line)


@app.command("mail")
@here_or_there
def mail(
    to: Annotated[str, typer.Option(help="Show only mail to this address.")] = "",
    state_dir: StateDirOption = DEFAULT,
) -> None:
    """Prints the shop's letters that wait for a mail system, the newest first, one JSON object per line."""
    for line in asyncio.run(_mail(state_dir, to)):
        typer.echo(line)


async def _mail(state_dir: Path, to: str) -> list[str]:
    import grpc
    from ecommerce import notification_pb2
    from ecommerce.notification_pb2_grpc import NotificationServiceStub

    from meshmart import methods
    from meshmart.operator import describe, join

    async with join(state_dir) as joined:
        stub = NotificationServiceStub(joined.member.channel("notification"))
        try:
            letters = stub.ListMail(notification_pb2.ListMailRequest(to=to), timeout=_TIMEOUT)
            return [methods.to_json(letter) async for letter in letters]
        except grpc.aio.AioRpcError as e:
            raise CommandError(describe(e)) from e


async def _change(state_dir: Path, method: str, request: Any) -> None:
    import grpc
    from ecommerce.user_pb2_grpc import UserServiceStub

    from meshmart.operator import describe, join

    async with join(state_dir) as joined:
        stub = UserServiceStub(joined.member.channel("user"))
        try:
            await getattr(stub, method)(request, timeout=_TIMEOUT)
        except grpc.aio.AioRpcError as e:
            raise CommandError(describe(e)) from e


async def _log(state_dir: Path, services: Sequence[str], limit: int) -> list[str]:
    import grpc
    from ecommerce import common_pb2

    from meshmart import methods
    from meshmart.operator import describe, join

    found = []
    request = common_pb2.ListAuditLogRequest(page_size=limit)
    async with join(state_dir) as joined:
        for service in services:
            method = methods.find(f"ecommerce.{service.capitalize()}Service/ListAuditLog")
            answers = methods.invoke(joined.member.channel(service), method, [request], timeout=_TIMEOUT)
            try:
                async for entry in answers:
                    told = json.loads(methods.to_json(entry))
                    line = json.dumps({"at": told["at"], "service": service, **told})
                    found.append((told["at"], int(told["id"]), line))
            except grpc.aio.AioRpcError as e:
                raise CommandError(f"{service}: {describe(e)}") from e
    return [line for *_, line in sorted(found)]
