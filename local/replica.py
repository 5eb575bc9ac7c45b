"""Runs one replica: keeps its process running, probes it, and restarts it when it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from grpcmesh.clock import Clock, monotonic
from local.addresses import Place
from local.backoff import Backoff, BackoffConfig
from local.catalog import ServiceSpec
from local.errors import describe
from local.probes import Answer, Probe, ProbeConfig, Verdict
from local.process import Process, describe_exit


class Prober(Protocol):
    """Probes a replica. `HealthClient` is one."""

    async def check(self) -> Answer: ...

    async def aclose(self) -> None: ...


class Tell(Protocol):
    """Called with a line about an event. `notable` events are shown to the user."""

    def __call__(self, text: str, notable: bool = False) -> None: ...


class Replica:
    """Runs at most one process at a time, like a pod.

    Args:
        spec: Its service.
        number: Its number, from 1.
        place: Its addresses.
        launch: Starts its process.
        prober: Probes its health port.
        tell: Called after its state changed.
        log: The file for its processes' output.
        probes: The thresholds of probes.
        backoff: The backoff of restarts.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        spec: ServiceSpec,
        number: int,
        place: Place,
        launch: Callable[[], Awaitable[Process]],
        prober: Prober,
        tell: Tell,
        log: Path,
        probes: ProbeConfig,
        backoff: BackoffConfig,
        clock: Clock = monotonic,
    ) -> None:
        self.spec, self.number, self.place, self.log = spec, number, place, log
        self.name = f"{spec.name}-{number}"
        self.restarts = 0
        self.ready_since: float | None = None
        """When it became ready, by the clock; None while it is not ready."""
        self._launch, self._prober, self._tell = launch, prober, tell
        self._probes, self._backoff, self._clock = probes, Backoff(backoff), clock
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._running = False

    @property
    def ready(self) -> bool:
        """Return whether it answers SERVING and is not about to stop."""
        return self.ready_since is not None

    @property
    def stopping(self) -> bool:
        """Return whether it is taken out of service for good, and drains."""
        return self._stopping.is_set()

    @property
    def paused(self) -> bool:
        """Return whether its process hangs since `pause`."""
        return not self._unpaused.is_set()

    @property
    def pid(self) -> int | None:
        """Return the process id, or None while it waits for a restart."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Run until `stop`. Cancellation kills the process."""
        self._running = True
        try:
            while not self._stopping.is_set():
                started = self._clock()
                how = await self._live()
                if self._stopping.is_set():
                    self._tell(f"{self.name} {how}")
                    break
                self.restarts += 1
                wait = self._backoff.after(self._clock() - started)
                self._tell(f"{self.name} {how}; restarts in {wait:.1f} s", notable=True)
                await self._pause(wait)
        finally:
            await self._prober.aclose()
            self._stopped.set()

    async def stop(self, grace: float) -> None:
        """Take it out of service at once, then let it drain.

        Args:
            grace: Seconds after which it is killed.
        """
        self._stopping.set()
        self._set_ready(False)
        if self._process:
            await self._process.stop(grace)
        if self._running:  # if `run` has not begun, it ends before its first process
            await self._stopped.wait()

    def kill(self) -> int | None:
        """Send SIGKILL to the process. Return its id, or None if there is no process now."""
        if self._process:
            self._process.kill()
        return self.pid

    def pause(self) -> int | None:
        """Make the process hang. It is not probed until `resume`, so nothing restarts it.

        Returns:
            The process id; None if there is no process now.
        """
        if self._process:
            self._unpaused.clear()
            self._process.pause()
        return self.pid

    def resume(self) -> int | None:
        """Resume a paused process. Return its id, or None if there is no process now."""
        self._unpaused.set()
        if self._process:
            self._process.resume()
        return self.pid

    async def _live(self) -> str:
        """Run one process from its start to its end. Return how it ended."""
        try:
            process = self._process = await self._launch()
        except OSError as e:
            return f"could not be started ({describe(e)})"
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch(process))
                try:
                    code = await self._end(process)
                finally:
                    self._set_ready(False)
                    self._unpaused.set()
                    process.kill()
                    watch.cancel()
            return describe_exit(code)
        finally:
            await process.wait()
            self._process = None

    async def _end(self, process: Process) -> int:
        if self._stopping.is_set():  # `stop` was called while the process was being started
            process.kill()
        return await process.wait()

    async def _watch(self, process: Process) -> None:
        probe = Probe(self._probes, self._clock)
        while True:
            await self._unpaused.wait()
            answer = await self._prober.check()
            if not self._unpaused.is_set():
                continue  # it was paused during the probe
            verdict = probe.observe(answer)
            self._set_ready(probe.ready and process.exit_code is None)
            if verdict is Verdict.KILL:
                self._tell(f"{self.name} does not answer its probes: killed", notable=True)
                process.kill()
                return
            await asyncio.sleep(probe.wait())

    def _set_ready(self, ready: bool) -> None:
        ready = ready and not self._stopping.is_set()
        if ready == self.ready:
            return
        self.ready_since = self._clock() if ready else None
        self._tell(f"{self.name} is {'ready' if ready else 'not ready'}")

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    def __repr__(self) -> str:
        return f"Replica({self.name}, pid={self.pid}, ready={self.ready}, restarts={self.restarts})"
