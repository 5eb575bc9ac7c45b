"""Measures the lag of the event loop, which is the first thing to look at if everything is slow."""

import asyncio
from collections import deque
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

#: Seconds between two measurements, and the number of measurements kept (ten seconds in all).
INTERVAL, WINDOW = 0.5, 20


class LoopLag:
    """Schedules a callback every half second, and measures how late it runs."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque([0.0], maxlen=WINDOW)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure the running loop."""
        loop = asyncio.get_running_loop()
        self._plan(loop)

    def stop(self) -> None:
        """Stop measuring."""
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
