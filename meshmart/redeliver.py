"""`meshmart redeliver`: delivers dead letters of the outboxes again."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import typer

from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there

#: The services that have an outbox.
_SERVICES = ("order", "payment", "user")


@here_or_there
def redeliver(state_dir: StateDirOption = DEFAULT) -> None:
    """Delivers again what a receiver refused for good (docs/outbox.md), and prints each event.

    Use it when the cause is fixed. Writes to STATE_DIR/data, or MESHMART_DATABASE_URL, whether or not the
    shop runs.
    """
    for line in asyncio.run(put_back(state_dir / "data", os.environ)) or ["no dead letters"]:
        typer.echo(line)


async def put_back(data: Path, environ: Mapping[str, str]) -> list[str]:
    """Mark all dead letters for delivery, and return a line about each with the reason of its refusal.

    Raises:
        CommandError: there is no outbox, or it is out of reach.
    """
    from grpcmesh.errors import MeshError

    try:
        return [line for service in _SERVICES for line in await _put_back(service, data, environ)]
    except MeshError as e:
        raise CommandError(str(e)) from None


async def _put_back(service: str, data: Path, environ: Mapping[str, str]) -> list[str]:
    from services.kit import outbox
    from services.kit.db import Database, database_url

    if not environ.get("MESHMART_DATABASE_URL") and not (data / f"{service}.db").exists():
        raise CommandError(f"there is no outbox of {service} in {data}")
    url = database_url(service, dict(environ) | {"MESHMART_DATA_DIR": str(data)})
    async with Database.open(url, service) as db:
        dead = await outbox.dead_letters(db)
        await outbox.put_back(db, time.time())
    return [f"{event.event_id} for {event.topic}: {event.refused}" for event in dead]
