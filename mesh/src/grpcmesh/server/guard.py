"""Closes connections beyond a peer's share, and connections of peers that make many wasted calls."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.call import Connections, Purpose, ServerCall, ServerLayer
from grpcmesh.clock import Clock, monotonic
from grpcmesh.rates import PeerRates
from grpcmesh.server import sockets
from grpcmesh.server.sockets import Peer

#: Seconds between two looks at the connections, and seconds for which requests to close are collected.
LOOK, GATHER = 1.0, 0.02
#: Up to this many open file descriptors, a connection is found in less than a millisecond.
FEW = 250
#: Codes of wasted calls: those that failed because of their caller.
_WASTED = frozenset(
    {grpc.StatusCode.CANCELLED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
)

_log = logging.getLogger(__name__)


class WastedCalls(ServerLayer):
    """Closes the connection of a peer that makes many wasted calls.

    A call is wasted if it ends with CANCELLED, PERMISSION_DENIED or UNAUTHENTICATED, or if it fails and its
    method is unknown or one of the mesh's own. A peer is a workload at an IP address. Accepting a call costs
    the event loop more than refusing it, so refusing alone does not protect other peers.

    Args:
        rate: Wasted calls per second that a peer may make.
        burst: Wasted calls that a peer may make in a burst.
        clock: Monotonic seconds.
    """

    observes = True

    def __init__(self, rate: float, burst: int, clock: Clock = monotonic) -> None:
        self._rates = PeerRates(rate, burst, clock)
        self._connections: Connections | None = None

    def attach(self, connections: Connections) -> None:
        self._connections = connections

    def on_end(self, call: ServerCall) -> None:
        if call.code is grpc.StatusCode.OK or not _wasted(call):
            return
        name = call.context.peer()
        peer = Peer.parse(name)
        key = (str(call.workload), peer.host if peer else name)
        if not self._rates.take(key) and self._connections is not None:
            self._connections.close(name, "wasted_calls")


def _wasted(call: ServerCall) -> bool:
    return call.code in _WASTED or call.purpose in (Purpose.UNKNOWN, Purpose.MESH)


class ConnectionGuard:
    """Closes connections of one port.

    Args:
        per_peer: Connections that one IP address may have; 0 sets no limit.
        port: Returns the port, which is known once the server listens.
    """

    def __init__(self, per_peer: int, port: Callable[[], int]) -> None:
        self._per_peer, self._port = per_peer, port
        self._closing: dict[Peer, str] = {}
        self._wake = asyncio.Event()
        #: The open connections, in the order in which they were first seen.
        self._seen: dict[Peer, None] = {}
        self._closed = Counter({"wasted_calls": 0, "too_many": 0})
        self._logs = PeerRates(1.0, 5.0)

    def close(self, peer: str, reason: str) -> None:
        """Close the connection of a peer within some milliseconds.

        Args:
            peer: The peer in the form of `context.peer()`.
            reason: A label of `mesh_connections_closed_total`.
        """
        found = Peer.parse(peer)
        if found is None:
            return
        if sockets.count_files() <= FEW:  # at once, or a flood has sent its next hundred calls meanwhile
            if sockets.close(self._port(), found.__eq__):
                self._count({found: reason})
            return
        self._closing[found] = reason
        self._wake.set()

    async def run(self) -> None:
        """Close connections beyond a peer's share and those passed to `close`, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK):
                    await self._wake.wait()
                await asyncio.sleep(GATHER)
            except TimeoutError:
                pass
            self._wake.clear()
            await self._round()

    def collect(self) -> Iterable[Metric]:
        """Yield the number of closed connections, by reason."""
        text = "Connections that the server closed, by reason."
        family = CounterMetricFamily("mesh_connections_closed", text, labels=["reason"])
        for reason, count in self._closed.items():
            family.add_metric([reason], count)
        yield family

    async def _round(self) -> None:
        closing, self._closing = self._closing, {}
        if self._per_peer and sockets.count_files() > self._per_peer:
            self._look(await asyncio.to_thread(sockets.peers, self._port()))
            for peer in excess(self._seen, self._per_peer):
                closing.setdefault(peer, "too_many")
        if closing:
            await asyncio.to_thread(sockets.close, self._port(), closing.__contains__)
            self._count(closing)

    def _look(self, found: Iterable[Peer]) -> None:
        present = dict.fromkeys(found)
        kept = {peer: None for peer in self._seen if peer in present}
        self._seen = kept | present

    def _count(self, closed: dict[Peer, str]) -> None:
        reasons = Counter(closed.values())
        self._closed.update(reasons)
        if self._logs.take("closed"):
            hosts = sorted({peer.host for peer in closed})[:5]
            _log.warning("closed connections of %s: %s", ", ".join(hosts), dict(reasons))


def excess(peers: Iterable[Peer], allowed: int) -> list[Peer]:
    """Return the connections beyond the number that each IP address may have. The first ones stay."""
    count, beyond = Counter[str](), []
    for peer in peers:
        count[peer.host] += 1
        if count[peer.host] > allowed:
            beyond.append(peer)
    return beyond
