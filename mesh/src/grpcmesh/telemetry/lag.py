"""Measures the event loop: its lag, the first thing to look at if everything is slow, its tasks, and how long
its thread waited for a CPU.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

#: Seconds between two measurements, and the number of measurements kept (ten seconds in all).
INTERVAL, WINDOW = 0.5, 20
#: Seconds that the thread waits for a CPU between two measurements from which on it is counted as a stall.
STALL = 0.5


class LoopLag:
    """Schedules a callback every half second, and measures how late it runs. Counts the loop's tasks, too.

    A late callback has two causes: code that blocks the loop, or a machine that is short of CPU. Linux tells
    them apart: it reports how long a thread was ready to run but did not (`schedstat`).
    """

    def __init__(self) -> None:
        self._lags: deque[float] = deque([0.0], maxlen=WINDOW)
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cpu: CpuWait | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        self._loop = asyncio.get_running_loop()
        self._cpu = CpuWait(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat"))
        self._plan(self._loop)

    def stop(self) -> None:
        """Stop measuring."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + INTERVAL
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._lags.append(max(0.0, loop.time() - due))
        if self._cpu is not None:
            self._cpu.look()
        self._plan(loop)

    def collect(self) -> Iterator[Metric]:
        text = "Longest delay of the event loop in the last ten seconds."
        yield GaugeMetricFamily("mesh_event_loop_lag_seconds", text, value=max(self._lags))
        if self._loop is not None:
            # Counted at scrape time: it walks over all tasks.
            text = "Tasks of the event loop that have not ended."
            yield GaugeMetricFamily("mesh_event_loop_tasks", text, value=len(asyncio.all_tasks(self._loop)))
        if self._cpu is not None:
            yield from self._cpu.collect()


class CpuWait:
    """How long a thread was ready to run, but had to wait for a CPU.

    Args:
        schedstat: The thread's file in /proc. If there is none, nothing is reported: other systems, gVisor.
    """

    def __init__(self, schedstat: Path) -> None:
        self._schedstat = schedstat
        self._waited = self._read()
        self._stalls = 0

    def look(self) -> None:
        """Compare with the last call. To be called every `INTERVAL` seconds."""
        before, self._waited = self._waited, self._read()
        if before is not None and self._waited is not None:
            self._stalls += self._waited - before >= STALL

    def collect(self) -> Iterator[Metric]:
        if (waited := self._read()) is None:
            return
        text = "Seconds that the event loop's thread was ready to run, but waited for a CPU."
        yield CounterMetricFamily("mesh_event_loop_cpu_wait_seconds", text, value=waited)
        text = "Times that it waited for a CPU for half a second or more."
        yield CounterMetricFamily("mesh_event_loop_cpu_stalls", text, value=self._stalls)

    def _read(self) -> float | None:
        """Return the seconds waited since the thread began; None if the kernel does not report them."""
        try:
            return int(self._schedstat.read_text().split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return None
