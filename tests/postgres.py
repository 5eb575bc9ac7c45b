"""A throwaway PostgreSQL of the test run's own: found, started, restarted, thrown away. Needs no network."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import asyncpg

#: Seconds that starting or stopping may take on a loaded machine.
TIMEOUT = 60
#: Bytes that a run may take.
ROOM = 2 << 30
_PLACES = ("/usr/local/bin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True))
_PREFIX = "meshmart-pg-"
#: Nobody needs what a test stored after a power cut; it survives a crash of the server nevertheless.
_FAST = ("fsync=off", "full_page_writes=off", "max_wal_size=1GB")


def binaries() -> Path | None:
    """The directory of initdb, pg_ctl and postgres, or None where there is none."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_PLACES])
    found = shutil.which("pg_ctl", path=path)
    return Path(found).parent if found and (Path(found).parent / "initdb").exists() else None


class Postgres:
    """A server on a unix socket, with settings as they come apart from its haste.

    Args:
        directory: Its own; a short path, as a socket's name is bounded.
        programs: See `binaries`.
        settings: Lines of postgresql.conf, such as where it listens beside the socket.
        hba: Lines of pg_hba.conf, before those that let everybody in.
    """

    def __init__(
        self, directory: Path, programs: Path, settings: Sequence[str] = (), hba: Sequence[str] = ()
    ) -> None:
        self.directory, self.programs = directory, programs
        self._settings, self._hba = settings, hba
        self._data = directory / "data"
        #: Holds the id of the process that it is for.
        self.owner = directory / "owner"

    def create(self) -> None:
        """Makes an empty database cluster."""
        if user := user_of_server():
            shutil.chown(self.directory, user)
        self._run("initdb", "-U", "meshmart", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        own = ["listen_addresses=''", f"unix_socket_directories='{self.directory}'"]
        settings = [*_FAST, *own, *self._settings]
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{line}\n" for line in settings)
        hba = self._data / "pg_hba.conf"
        hba.write_text("\n".join([*self._hba, hba.read_text()]))

    def start(self) -> None:
        """Returns when it takes connections."""
        self._run("pg_ctl", "start", "-w", "-t", str(TIMEOUT), "-l", str(self.directory / "log"))

    def stop(self, mode: str = "fast") -> None:
        """Ends every connection. `immediate` is a crash: it recovers at the next start."""
        self._run("pg_ctl", "stop", "-w", "-t", str(TIMEOUT), "-m", mode)

    def url(self, database: str) -> str:
        """For MESHMART_DATABASE_URL."""
        return f"postgresql://meshmart@/{database}?host={self.directory}"

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """For statements about databases, such as CREATE DATABASE."""
        connection = await asyncpg.connect(
            host=str(self.directory), user="meshmart", database="postgres", timeout=TIMEOUT
        )
        try:
            yield connection
        finally:
            await connection.close()

    def _run(self, program: str, *arguments: str) -> None:
        command = [
            *as_user(user_of_server()),
            str(self.programs / program),
            *arguments,
            "-D",
            str(self._data),
        ]
        # Not a pipe: the server would keep it open.
        with tempfile.TemporaryFile("w+") as out:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.directory,
                timeout=2 * TIMEOUT,
            )
            out.seek(0)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} exited {done.returncode}\n{out.read()}")


def owned(path: Path) -> Path:
    """A file that the server may read as its own: PostgreSQL refuses a key that others can read."""
    path.chmod(0o600)
    if user := user_of_server():
        shutil.chown(path, user)
    return path


def user_of_server() -> str | None:
    """Whom to be instead of root, as whom PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return None
    return "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"


def as_user(user: str | None) -> list[str]:
    """Becomes that user. Not with subprocess's `user`: that forks, which gRPC's threads may not survive."""
    if user is None:
        return []
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _place() -> str:
    """Memory where there is enough of it: a database per test is some thousand files copied."""
    memory = "/dev/shm"
    return (
        memory if os.path.isdir(memory) and shutil.disk_usage(memory).free > ROOM else tempfile.gettempdir()
    )


@contextlib.contextmanager
def throwaway(programs: Path, settings: Sequence[str] = (), hba: Sequence[str] = ()) -> Iterator[Postgres]:
    """A running server, gone at the end of the block whatever happened; after a kill -9, at the next run."""
    place = _place()
    _sweep(Path(place), programs)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True) as directory:
        server = Postgres(Path(directory), programs, settings, hba)
        server.owner.write_text(str(os.getpid()))
        server.create()
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # a test may have left it stopped
                server.stop("immediate")


def _sweep(place: Path, programs: Path) -> None:
    """Ends the servers of runs that were killed."""
    for directory in place.glob(f"{_PREFIX}*"):
        server = Postgres(directory, programs)
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # another sweep, somebody else's
            if not Path(f"/proc/{int(server.owner.read_text())}").exists() and Path("/proc/self").exists():
                with contextlib.suppress(RuntimeError):
                    server.stop("immediate")
                shutil.rmtree(directory)
