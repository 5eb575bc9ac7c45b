"""A throwaway PgBouncer before a throwaway PostgreSQL."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.kit.roles import Role
from tests.postgres import Postgres, as_user, user_of_server

#: Seconds for it to listen, on a loaded machine.
TIMEOUT = 60.0


def program() -> str | None:
    """Where it is, or None."""
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))


@contextlib.contextmanager
def throwaway(
    server: Postgres, mode: str, connections: int, binary: str, roles: Sequence[Role] = ()
) -> Iterator[Path]:
    """A running PgBouncer on a unix socket; the socket's directory.

    Args:
        server: Behind it.
        mode: `session` or `transaction`.
        connections: That it may open to a database.
        binary: See `program`.
        roles: Who may log in beside `meshmart`, with their passwords for the server.
    """
    with tempfile.TemporaryDirectory(prefix="meshmart-bouncer-") as place:
        directory = Path(place)
        users = "".join(f'"{role.name}" "{role.password}"\n' for role in roles)
        (directory / "users").write_text(f'"meshmart" ""\n{users}')
        (directory / "ini").write_text(
            f"""[databases]
* = host={server.directory}
[pgbouncer]
listen_addr =
unix_socket_dir = {directory}
auth_type = trust
auth_file = {directory}/users
pool_mode = {mode}
default_pool_size = {connections}
"""
        )
        if user := user_of_server():
            for path in (directory, *directory.iterdir()):
                shutil.chown(path, user)
        with (directory / "log").open("wb") as log:
            running = subprocess.Popen(
                [*as_user(user_of_server()), binary, str(directory / "ini")], stderr=log, stdout=log
            )
        try:
            _wait(directory, running)
            yield directory
        finally:
            running.kill()
            running.wait()


def _wait(directory: Path, running: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + TIMEOUT
    while not (directory / ".s.PGSQL.6432").exists():
        if running.poll() is not None or time.monotonic() > give_up:
            raise RuntimeError(f"pgbouncer does not listen: {(directory / 'log').read_text()}")
        time.sleep(0.02)
