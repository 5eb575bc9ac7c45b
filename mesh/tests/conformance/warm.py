"""Starts the programs that Connect's suite tests before its runner wants them.

The runner gives a server ten seconds to start. Python needs more than one second of CPU time to import what
these programs need, which is too long on a busy machine. So one process imports it, and forks each time that
the runner starts the program. What the runner starts is this file: it hands its pipes over to the fork, and
ends with it.

    python -S -E warm.py SOCKET
"""

import os
import signal
import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(sys.argv[1])
        socket.send_fds(connection, [b"-"], [0, 1, 2])
        # Nothing is received if the fork has ended without its status.
        sys.exit((connection.recv(1) or b"\1")[0])

import asyncio
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: The most seconds that the imports may take.
TIMEOUT = 300.0


@contextmanager
def started(module: str, kind: str, **environ: str) -> Iterator[list[str]]:
    """Import a program, and yield the command that starts it."""
    with tempfile.TemporaryDirectory() as directory:  # short: a socket's name is bounded
        path = Path(directory, "warm")
        process = subprocess.Popen(
            [sys.executable, "-m", module, kind, str(path)],
            env={**os.environ, **environ},
            cwd=Path(__file__).parents[2],
        )
        try:
            _await(path, process)
            yield [sys.executable, "-S", "-E", __file__, str(path)]
        finally:
            process.kill()
            process.wait()


def _await(path: Path, process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + TIMEOUT
    while not path.exists():
        assert process.poll() is None, "the program did not start"
        assert time.monotonic() < give_up, f"the program has not started after {TIMEOUT:g} s"
        time.sleep(0.05)


def serve(path: str, main: Callable[[], Awaitable[None]]) -> None:
    """Fork for each connection to the socket at this path, and run the program there."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{path}.new")
        listener.listen()
        os.rename(f"{path}.new", path)  # whoever finds it can connect
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _run(connection, main)
            connection.close()


def _run(connection: socket.socket, main: Callable[[], Awaitable[None]]) -> None:
    """Run the program on the pipes of what the runner has started, and end the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, pipes, _, _ = socket.recv_fds(connection, 1, 3)
    for descriptor, pipe in enumerate(pipes):
        os.dup2(pipe, descriptor)
        os.close(pipe)
    threading.Thread(target=_leave, args=(connection,), daemon=True).start()
    status = 1
    try:
        asyncio.run(main())  # type: ignore[arg-type]
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        connection.sendall(bytes([status]))
        os._exit(status)


def _leave(connection: socket.socket) -> None:
    """End this process when the runner has ended what it started."""
    connection.recv(1)
    os._exit(0)
