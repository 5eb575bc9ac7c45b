"""Measures the lag of the event loop, the first thing to look at if everything is slow, and its tasks."""

import asyncio
from collections import deque
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

#: Seconds between two measurements, and the number of measurements kept (ten seconds in all).
INTERVAL, WINDOW = 0.5, 20


class LoopLag:
    """Schedules a callback every half second, and measures how late it runs. Counts the loop's tasks, too."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque([0.0], maxlen=WINDOW)
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        self._loop = asyncio.get_running_loop()
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
        self._plan(loop)

    def collect(self) -> Iterator[Metric]:
        text = "Longest delay of the event loop in the last ten seconds."
        yield GaugeMetricFamily("mesh_event_loop_lag_seconds", text, value=max(self._lags))
        if self._loop is not None:
            # Counted at scrape time: it walks over all tasks.
            text = "Tasks of the event loop that have not ended."
            yield GaugeMetricFamily("mesh_event_loop_tasks", text, value=len(asyncio.all_tasks(self._loop)))
