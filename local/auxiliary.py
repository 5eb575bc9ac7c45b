"""Runs processes that are no services: the trace store, Prometheus, the console.

They are ready when their port answers.
"""

import asyncio
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from grpcmesh.clock import monotonic
from local import prometheus
from local.backoff import Backoff, BackoffConfig
from local.errors import ClusterError, describe
from local.logs import last_lines
from local.process import Process, describe_exit
from local.replica import Tell
from local.state import StateDir
from local.tasks import all_of, until

_POLL = 0.1


class Auxiliary:
    """One process without replicas, which is restarted when it ends.

    Args:
        name: The name in messages.
        program: The program, as for `Process.start`.
        environment: The whole environment of the process.
        log: The file for its output.
        port: The port on 127.0.0.1 that answers when it is ready.
        tell: Called when it ended by itself.
    """

    def __init__(
        self,
        name: str,
        program: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        port: int,
        tell: Tell,
    ) -> None:
        self.name, self.port = name, port
        self._program, self._environment, self._log, self._tell = program, environment, log, tell
        self._process: Process | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run the process, and restart it with backoff, until `stop`."""
        backoff = Backoff(BackoffConfig())
        while not self._stopping.is_set():
            started = monotonic()
            how = await self._live()
            if self._stopping.is_set():
                return
            wait = backoff.after(monotonic() - started)
            self._tell(f"{self.name} {how}; restarts in {wait:.1f} s; see {self._log}", notable=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopping.wait()

    async def stop(self, grace: float) -> None:
        self._stopping.set()
        if self._process:
            await self._process.stop(grace)

    async def wait_ready(self, timeout: float) -> None:
        """Wait until the port answers. Raises ClusterError if it does not within `timeout` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await until(self._answers, _POLL)
        raise ClusterError(f"{self.name} does not start; see {self._log}", last_lines(self._log))

    async def _live(self) -> str:
        try:
            process = self._process = await Process.start(self._program, self._environment, self._log)
        except OSError as e:
            return f"could not be started ({describe(e)})"
        try:
            return describe_exit(await process.wait())
        finally:
            process.kill()
            await process.wait()
            self._process = None

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


class Auxiliaries:
    """The trace store, Prometheus and the console, each if it is needed.

    Args:
        state: The state directory, for logs and files.
        environ: If `OTEL_EXPORTER_OTLP_ENDPOINT` is set, traces go there, and no trace store is run.
        tell: Called when one ended by itself.
        console: The program of the console, without its options; empty for none.
    """

    def __init__(
        self, state: StateDir, environ: Mapping[str, str], tell: Tell, console: Sequence[str] = ()
    ) -> None:
        self._state, self._environ, self._tell, self._program = state, environ, tell, console
        self._all: list[Auxiliary] = []
        self.otlp = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        """The endpoint to which spans are sent."""
        self.traces: str | None = None
        """The URL of the built-in store's pages."""
        self.prometheus: str | None = None
        """The URL of Prometheus, if it is installed."""
        self.console: str | None = None
        """The URL of the console's page."""

    def plan(self) -> list[Auxiliary]:
        """Decide what to run, and return it. The caller owns the tasks."""
        if not self.otlp:
            self._all.append(self._trace_store())
        if binary := prometheus.find():
            self._all.append(self._prometheus(binary))
        return list(self._all)

    def plan_console(self) -> list[Auxiliary]:
        """Decide whether to run the console, which is started later, because nobody's first page needs it.

        The caller owns the task.
        """
        found = [self._console()] if self._program else []
        self._all.extend(found)
        return found

    def scrape(self, targets: Collection[prometheus.Target]) -> None:
        """Update the replicas that Prometheus scrapes."""
        if self.prometheus:
            prometheus.write_targets(self._targets, targets)

    async def wait_ready(self, timeout: float) -> None:
        await all_of(*(a.wait_ready(timeout) for a in self._all))

    async def stop(self, grace: float) -> None:
        await all_of(*(a.stop(grace) for a in self._all))

    def _trace_store(self) -> Auxiliary:
        otlp, http = free_port(4317), free_port(16686)
        self.otlp, self.traces = f"http://127.0.0.1:{otlp}", f"http://127.0.0.1:{http}"
        program = ["-m", "local.traces", "--otlp", f"127.0.0.1:{otlp}", "--http", f"127.0.0.1:{http}"]
        return Auxiliary("traces", program, self._environ, self._state.log("traces"), http, self._tell)

    def _console(self) -> Auxiliary:
        port = free_port(8081)
        self.console = f"http://127.0.0.1:{port}"
        options = ["--http", f"127.0.0.1:{port}", "--state-dir", str(self._state.path)]
        program = [*self._program, *options]
        return Auxiliary("console", program, self._environ, self._state.log("console"), port, self._tell)

    @property
    def _targets(self) -> Path:
        return self._state.path / "prometheus" / "targets.json"

    def _prometheus(self, binary: str) -> Auxiliary:
        port, home = free_port(9090), self._state.path / "prometheus"
        self.prometheus = f"http://127.0.0.1:{port}"
        config = prometheus.write_config(home, self._targets)
        program = prometheus.command(binary, config, home / "data", f"127.0.0.1:{port}")
        return Auxiliary(
            "prometheus", program, self._environ, self._state.log("prometheus"), port, self._tell
        )


def free_port(preferred: int) -> int:
    """Return a free port on 127.0.0.1: the preferred one, if it is free.

    Raises:
        ClusterError: no port is free.
    """
    for port in (preferred, 0):
        with suppress(OSError), socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            s.listen(1)
            return int(s.getsockname()[1])
    raise ClusterError("no port is free on 127.0.0.1")
