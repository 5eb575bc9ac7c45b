"""Counts TLS handshakes that failed, which grpc tells Python nothing about.

What can be known: the credentials fetcher runs once as each handshake starts, and a connection that
came out of one is seen in channelz (this server's sockets) or by the first call on it. So each start is
pending until a connection not seen before accounts for it; what is still pending after the settle time
has failed. A handshake that succeeds later than that was counted as failed; a connection that came
and went between two looks without a call, too.
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
#: Pending handshakes remembered; beyond, the oldest counts as failed.
_MOST_PENDING = 4096
#: Timers may fire this much early.
_TICK = 0.01

#: The peers connected now; as `saw_call` names them.
Peers = Callable[[], Awaitable[frozenset[Any]]]


class HandshakeMonitor:
    """Accounts for each handshake. Costs a call nothing unless one is pending.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._known: set[Any] = set()
        self._calling: set[Any] = set()
        #: When each handshake not yet accounted for started; falsy almost always.
        self.pending: deque[float] = deque()
        self.total = 0
        self.failed = 0

    def attach(self) -> None:
        """Count handshakes from now on, on the running event loop."""
        self._loop = asyncio.get_running_loop()

    def started(self) -> None:
        """A handshake starts. Called by grpc on a thread of its own."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody counts any more
                self._loop.call_soon_threadsafe(self.begin)

    def begin(self) -> None:
        """The same, on the event loop."""
        self.total += 1
        if len(self.pending) == _MOST_PENDING:
            self.pending.popleft()
            self.failed += 1
        self.pending.append(self._clock())
        self._wake.set()

    def saw_call(self, peer: Any) -> None:
        """A call of this peer is served. Worth calling only while `pending`."""
        if peer not in self._known:
            self._known.add(peer)
            self._calling.add(peer)
            self._account()

    def saw_connections(self, peers: frozenset[Any]) -> None:
        """These peers, and no others, are connected now."""
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
        """Looks at the connections while a handshake is pending; until cancelled."""
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
