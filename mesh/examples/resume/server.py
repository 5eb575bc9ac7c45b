"""Stores notes that writers send on streams: each once, in order, in SQLite."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

from grpcmesh import Mesh  # before anything that imports grpc

# isort: split
from grpcmesh.errors import FailedPrecondition
from notes_pb2 import Note, Stored
from notes_pb2_grpc import NotesServicer, add_NotesServicer_to_server

TABLE = "CREATE TABLE IF NOT EXISTS notes (writer TEXT, number INT, text TEXT, PRIMARY KEY (writer, number))"
LAST = "SELECT coalesce(max(number), 0) FROM notes WHERE writer = :writer"
#: Stores a note if it is the next one of its writer. A repeated note changes nothing.
STORE = f"INSERT INTO notes SELECT :writer, :number, :text WHERE :number = 1 + ({LAST})"


class Notes(NotesServicer):
    def __init__(self, file: str) -> None:
        self._file = file

    async def Keep(self, notes: AsyncIterator[Note], context: Any) -> AsyncIterator[Stored]:
        async for note in notes:  # where a drain ends the stream: what was read is stored and answered
            stored = await asyncio.to_thread(self._store, note)
            if stored < note.number:
                raise FailedPrecondition(f"note {note.number} cannot follow note {stored}", "NOTE_MISSING")
            yield Stored(number=stored)

    def _store(self, note: Note) -> int:
        """Return the number up to which the writer's notes are on disk."""
        values = {"writer": note.writer, "number": note.number, "text": note.text}
        with contextlib.closing(sqlite3.connect(self._file)) as database, database:
            database.execute(TABLE)
            database.execute(STORE, values)
            return int(database.execute(LAST, values).fetchone()[0])


async def main() -> None:
    async with Mesh.from_env("notes") as mesh:
        server = mesh.server()
        add_NotesServicer_to_server(Notes(os.environ.get("NOTES_FILE", "notes.db")), server)
        await mesh.serve(server)


asyncio.run(main())
