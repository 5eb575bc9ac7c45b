"""examples/resume: a bidirectional stream that resumes when its server is restarted."""

import contextlib
import signal
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.kit import EXAMPLES, LIMIT, Program, program
from tests.integration import test_hello_example as hello
from tests.integration.serverkit import until
from tests.ports import free_port

FOLDER = EXAMPLES / "resume"


class Restarts:
    """A server of notes that is started again and again, a client, and what is stored."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._port = directory, free_port()
        self._starts, self._written = 0, 0

    def _environment(self) -> dict[str, str]:
        return hello.environment(
            0,
            MESH_PLAINTEXT="true",
            MESH_TARGETS=f"notes=static:///127.0.0.1:{self._port}",
            MESH_ADDRESS=f"127.0.0.1:{self._port}",
            MESH_HEALTH_ADDRESS="",
            NOTES_FILE=str(self._directory / "notes.db"),
            PYTHONUNBUFFERED="1",
        )

    @contextlib.contextmanager
    def server(self) -> Iterator[Program]:
        self._starts += 1
        log = self._directory / f"server-{self._starts}.log"
        with program([sys.executable, "server.py"], FOLDER, log, self._environment()) as server:
            yield server

    @contextlib.contextmanager
    def client(self) -> Iterator[Program]:
        command = [sys.executable, "client.py"]
        with program(command, FOLDER, self._directory / "client.log", self._environment()) as client:
            yield client

    def write(self, client: Program, count: int) -> None:
        """Give the client more lines: the numbers from the last one on."""
        first, self._written = self._written + 1, self._written + count
        assert client.process.stdin is not None
        client.process.stdin.write("".join(f"{n}\n" for n in range(first, self._written + 1)).encode())
        client.process.stdin.flush()

    def stored(self) -> list[tuple[int, str]]:
        """Return what is stored, in the order in which it was."""
        with contextlib.closing(sqlite3.connect(self._directory / "notes.db", timeout=LIMIT)) as database:
            try:
                return database.execute("SELECT number, text FROM notes ORDER BY rowid").fetchall()
            except sqlite3.OperationalError:  # there is no table before the first note
                return []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["drained", "killed"])
async def test_nothing_is_lost_and_nothing_doubled_across_restarts(
    tmp_path: Path, how: signal.Signals
) -> None:
    notes = Restarts(tmp_path)
    with notes.client() as client:
        for restart in range(1, 4):
            with notes.server() as server:
                notes.write(client, 100)
                # Some are stored, and others are on their way when the server is stopped.
                await until(lambda least=(restart - 1) * 150 + 20: len(notes.stored()) >= least)
                server.process.send_signal(how)
                await server.ends()
            await client.says(lambda output, times=restart: output.count("interrupted after note") >= times)
            notes.write(client, 50)  # while nobody serves
        with notes.server():
            assert client.process.stdin is not None
            client.process.stdin.close()
            assert await client.ends() == 0, client.output()
    assert notes.stored() == [(n, str(n)) for n in range(1, 451)]
    acknowledged = [line for line in client.output().splitlines() if line.startswith("stored ")]
    assert acknowledged == [f"stored {n}" for n in range(1, 451)]
