"""One replica: keeps its process running, probes it, restarts it when it ends."""

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
    """Asks a replica how it is; `HealthClient` is one."""

    async def check(self) -> Answer: ...

    async def aclose(self) -> None: ...


class Tell(Protocol):
    """Takes a line about what happened; `notable`: a person would want to know."""

    def __call__(self, text: str, notable: bool = False) -> None: ...


class Replica:
    """Has at most one process at a time, in the manner of a pod.

    Args:
        spec: Its service.
        number: 1, 2, …
        place: Its addresses.
        launch: Starts its process.
        prober: Asks its health port.
        tell: Called after its state changed.
        log: What its processes write.
        probes: Thresholds.
        backoff: Of restarts.
        clock: Monotonic.
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
        """By the clock; None while it is not ready."""
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
        """Answers SERVING, and is not about to leave."""
        return self.ready_since is not None

    @property
    def pid(self) -> int | None:
        """None while it waits for a restart."""
        return self._process.pid if self._process else None

    async def run(self) -> None:
        """Lives until `stop`; a cancellation kills the process."""
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
        """Takes it out of service at once, then lets it drain.

        Args:
            grace: Seconds after which it is killed.
        """
        self._stopping.set()
        self._set_ready(False)
        if self._process:
            await self._process.stop(grace)
        if self._running:  # one whose life has not begun ends before its first process
            await self._stopped.wait()

    def kill(self) -> int | None:
        """SIGKILL to the process; returns its id, None where there is none just now."""
        if self._process:
            self._process.kill()
        return self.pid

    def pause(self) -> int | None:
        """Makes the process hang without anybody noticing: it is not probed until `resume`.

        Returns:
            Its id; None where there is none just now.
        """
        if self._process:
            self._unpaused.clear()
            self._process.pause()
        return self.pid

    def resume(self) -> int | None:
        """Lets it go on."""
        self._unpaused.set()
        if self._process:
            self._process.resume()
        return self.pid

    async def _live(self) -> str:
        """One process from start to end; says how it ended."""
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
        if self._stopping.is_set():  # told to stop while the process was being started
            process.kill()
        return await process.wait()

    async def _watch(self, process: Process) -> None:
        probe = Probe(self._probes, self._clock)
        while True:
            await self._unpaused.wait()
            answer = await self._prober.check()
            if not self._unpaused.is_set():
                continue  # it was paused while it was asked
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
