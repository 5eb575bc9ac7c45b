"""`meshmart redeliver`: delivers dead letters of the outboxes again."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import typer

from meshmart.errors import CommandError
from meshmart.options import DEFAULT, StateDirOption, here_or_there


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

    The services are those whose manifests say that they store something and whose databases have an outbox.

    Raises:
        CommandError: there is no outbox, or it is out of reach.
    """
    from grpcmesh.errors import MeshError
    from services.manifest import shop

    try:
        found = [await _put_back(m.name, data, environ) for m in shop().values() if m.stores]
    except MeshError as e:
        raise CommandError(str(e)) from None
    outboxes = [lines for lines in found if lines is not None]
    if not outboxes:
        where = "the database" if environ.get("MESHMART_DATABASE_URL") else data
        raise CommandError(f"there is no outbox in {where}")
    return [line for lines in outboxes for line in lines]


async def _put_back(service: str, data: Path, environ: Mapping[str, str]) -> list[str] | None:
    """Return None if the service has no outbox."""
    from services.kit import outbox
    from services.kit.db import Database, database_url

    if not environ.get("MESHMART_DATABASE_URL") and not (data / f"{service}.db").exists():
        return None
    url = database_url(service, dict(environ) | {"MESHMART_DATA_DIR": str(data)})
    async with Database.open(url, service) as db:
        if not await outbox.present(db):
            return None
        dead = await outbox.dead_letters(db)
        await outbox.put_back(db, time.time())
    return [f"{event.event_id} for {event.topic}: {event.refused}" for event in dead]
