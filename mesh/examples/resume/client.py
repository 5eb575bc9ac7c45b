"""Sends the lines of its standard input as notes, on a stream that resumes when the server is restarted."""

import asyncio
import random
import sys
import threading
import uuid
from collections import deque
from collections.abc import AsyncIterator

from grpcmesh import Mesh  # before anything that imports grpc

# isort: split
import grpc

from notes_pb2 import Note
from notes_pb2_grpc import NotesStub

#: Codes that end a stream which can be resumed: the server has stopped, or the stream's time is over.
RESUMABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
#: Notes that are held at most until they are stored.
WINDOW = 100


class Outbox:
    """Notes on their way to the server. Each is held until the server says that it is stored."""

    def __init__(self, stub: NotesStub) -> None:
        self._stub, self._writer = stub, str(uuid.uuid4())
        self._stored, self._held = 0, deque[Note]()  # the first one held has the number stored + 1
        self._window, self._changed = asyncio.Semaphore(WINDOW), asyncio.Event()
        self._closed = False

    async def add(self, text: str) -> None:
        """Send a note. Wait while too many are on their way."""
        await self._window.acquire()
        number = self._stored + len(self._held) + 1
        self._held.append(Note(writer=self._writer, number=number, text=text))
        self._changed.set()

    def close(self) -> None:
        """End `run` when all notes are stored."""
        self._closed = True
        self._changed.set()

    async def run(self) -> None:
        """Send notes until the outbox is closed and empty, over as many streams as it takes."""
        while True:
            try:
                return await self._stream()
            except grpc.aio.AioRpcError as e:
                if e.code() not in RESUMABLE:
                    raise
                print(f"interrupted after note {self._stored}: {e.details()}", file=sys.stderr, flush=True)
            await asyncio.sleep(random.uniform(0, 0.5))  # not all clients at the same moment

    async def _stream(self) -> None:
        answered = asyncio.Event()
        async for stored in self._stub.Keep(self._notes(answered), wait_for_ready=True):
            self._release(stored.number)
            answered.set()

    async def _notes(self, answered: asyncio.Event) -> AsyncIterator[Note]:
        yield Note(writer=self._writer)  # asks what is stored: perhaps more than we have been told
        await answered.wait()
        sent = self._stored
        while (note := await self._after(sent)) is not None:
            yield note
            sent = note.number

    async def _after(self, number: int) -> Note | None:
        """Wait for the note after `number`. Return None if there will be none."""
        while number - self._stored >= len(self._held):
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._held[number - self._stored]

    def _release(self, number: int) -> None:
        while self._stored < number:
            self._stored = self._held.popleft().number
            self._window.release()
            print("stored", self._stored, flush=True)


def read(outbox: Outbox, loop: asyncio.AbstractEventLoop) -> None:
    """Put the lines of the standard input into the outbox. Run in a thread, because reading blocks."""
    for line in sys.stdin:
        asyncio.run_coroutine_threadsafe(outbox.add(line.rstrip("\n")), loop).result()
    loop.call_soon_threadsafe(outbox.close)


async def main() -> None:
    async with Mesh.from_env("writer") as mesh:
        outbox = Outbox(NotesStub(mesh.channel("notes")))
        threading.Thread(target=read, args=(outbox, asyncio.get_running_loop()), daemon=True).start()
        await outbox.run()


asyncio.run(main())
