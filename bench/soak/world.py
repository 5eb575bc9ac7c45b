"""The shop of a run: a PostgreSQL that can be restarted, and an embedded cluster on it."""

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.ports import free_port, loopback_prefix
from tests.postgres import Postgres, binaries, throwaway

#: The settings of the shop and of the load: reads are hedged. Otherwise each caller of a replica that hangs
#: loses up to five reads until it ejects the replica.
SERVICE_CONFIG = Path(__file__).with_name("service_config.json").read_text(encoding="utf-8")


class Database:
    """The server of the databases, restarted without blocking the loop."""

    def __init__(self, server: Postgres) -> None:
        self._server = server

    async def stop(self, mode: str) -> None:
        """End it, and every connection. The mode `immediate` is a crash, from which it recovers."""
        await asyncio.to_thread(self._server.stop, mode)

    async def start(self) -> None:
        """Start it. Returns when it takes connections."""
        await asyncio.to_thread(self._server.start)


@dataclass(frozen=True)
class World:
    """A running shop.

    Attributes:
        state_dir: The state directory of its cluster.
        database: The server of its databases.
        environ: The environment of its processes.
    """

    state_dir: Path
    database: Database
    environ: Mapping[str, str]

    @property
    def logs(self) -> Path:
        return self.state_dir / "logs"


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Yield a new shop on addresses of its own. Nothing of it is left at the end of the block.

    Raises:
        SystemExit: PostgreSQL is not installed.
    """
    programs = binaries()
    if programs is None:
        sys.exit(
            "soak: PostgreSQL is not installed (no pg_ctl and initdb); on Debian: apt install postgresql"
        )
    with throwaway(programs) as database, tempfile.TemporaryDirectory(prefix="meshmart-soak-") as directory:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "MESHMART_", "OTEL_"))}
        environ = {
            **kept,
            "MESHMART_LOOPBACK": loopback_prefix(),
            "MESHMART_DATABASE_URL": database.url("postgres"),
            "MESH_SERVICE_CONFIG_INLINE": SERVICE_CONFIG,
        }
        state = Path(directory) / "state"
        command = [sys.executable, "-m", "meshmart"]
        try:
            up = [*command, "up", "--detach", "--port", str(free_port()), "--state-dir", str(state)]
            subprocess.run(up, check=True, env=environ)
            yield World(state, Database(database), environ)
        finally:
            down = [*command, "down", "--state-dir", str(state)]
            subprocess.run(down, check=False, env=environ, stderr=subprocess.DEVNULL)
