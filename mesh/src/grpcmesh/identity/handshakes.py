"""Counts failed TLS handshakes, which grpc does not report to Python.

The credentials fetcher runs once when a handshake starts. A connection that results from a handshake is seen
in channelz (this server's sockets) or by its first call. So each start is pending until a new connection is
seen. A handshake that is still pending after the settle time counts as failed. The count is too high for
handshakes that take longer, and for connections that open and close between two looks without a call.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.clock import Clock

#: Seconds from the first unaccounted handshake to each look at channelz; the last is the settle time.
LOOKS = (0.05, 0.2, 1.0)
#: The most pending handshakes. Beyond it, the oldest counts as failed.
_MOST_PENDING = 4096
#: Timers may fire this much early.
_TICK = 0.01

#: Returns the peers that are connected now, in the same form as `saw_call` gets.
Peers = Callable[[], Awaitable[frozenset[Any]]]


class HandshakeMonitor:
    """Counts handshakes, and those that failed. Calls pay for it only while a handshake is pending.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._known: set[Any] = set()
        self._calling: set[Any] = set()
        #: Clock times at which the pending handshakes started. Almost always empty.
        self.pending: deque[float] = deque()
        self.total = 0
        self.failed = 0

    def attach(self) -> None:
        """Count handshakes from now on, on the running event loop."""
        self._loop = asyncio.get_running_loop()

    def started(self) -> None:
        """Handle the start of a handshake. grpc calls this on a thread of its own."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self.begin)

    def begin(self) -> None:
        """Count a handshake that starts. Runs on the event loop."""
        self.total += 1
        if len(self.pending) == _MOST_PENDING:
            self.pending.popleft()
            self.failed += 1
        self.pending.append(self._clock())
        self._wake.set()

    def saw_call(self, peer: Any) -> None:
        """Note that a call of this peer is being served. Only needed while `pending` is not empty."""
        if peer not in self._known:
            self._known.add(peer)
            self._calling.add(peer)
            self._account()

    def saw_connections(self, peers: frozenset[Any]) -> None:
        """Note that exactly these peers are connected now."""
        for _ in peers - self._known:
            self._account()
        # One that called within this round and is gone already stays known until the next look.
        self._known = set(peers) | self._calling
        self._calling.clear()

    def expire(self) -> None:
        """Count handshakes that have been pending for longer than the settle time as failed."""
        limit = self._clock() - LOOKS[-1] + _TICK
        while self.pending and self.pending[0] <= limit:
            self.pending.popleft()
            self.failed += 1

    async def run(self, peers: Peers) -> None:
        """Look at the connections while a handshake is pending, until cancelled.

        Args:
            peers: Returns the peers that are connected now.
        """
        while True:
            await self._wake.wait()
            self._wake.clear()
            waited = 0.0
            for look in LOOKS:
                await asyncio.sleep(look - waited)
                waited = look
                # The last look is for connections that are gone: their ports may be used again.
                if self.pending or look == LOOKS[-1]:
                    self.saw_connections(await peers())
            self.expire()
            if self.pending:
                self._wake.set()

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "mesh_tls_handshakes", "TLS handshakes that clients started.", value=self.total
        )
        yield CounterMetricFamily(
            "mesh_tls_handshake_failures",
            "TLS handshakes that did not become a connection: no certificate, a foreign CA, a scan.",
            value=self.failed,
        )

    def _account(self) -> None:
        if self.pending:
            self.pending.popleft()
