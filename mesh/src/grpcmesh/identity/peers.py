"""Keeps the workload of each connection, and until when its certificate is accepted.

A TLS connection can outlive its certificate, and grpc does not check the certificate after the handshake. So
it is read once per connection, and its expiry is checked at each call. When the bundle changes, each
certificate is verified again.
"""

import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grpcmesh.call import ServerCall
from grpcmesh.clock import Clock
from grpcmesh.errors import MeshError, Unavailable
from grpcmesh.identity.bundles import Bundle, Bundles
from grpcmesh.identity.peer import AuthContext, Peer, RefusedError, read, require_tls13, shown

_log = logging.getLogger(__name__)

#: The most connections in each of the two generations of the cache.
_MAX_CONNECTIONS = 2048
#: Seconds after which a generation ends. A connection that makes no call for two generations is forgotten,
#: and its certificate with it. gRPC does not report that a connection has closed, and every renewed
#: certificate comes with new connections. A certificate takes 13 kB (measured).
GENERATION = 60.0

#: Ends the streams of calls for which the first function returns True, with the error that the second makes.
#: Returns how many.
EndStreams = Callable[[Callable[[ServerCall], bool], Callable[[], MeshError]], int]


class Peers:
    """Identifies the peers of one server.

    Args:
        trust_domain: The trust domain of the workloads that are accepted, beside those that have a bundle.
        clock: Returns unix seconds.
    """

    def __init__(self, trust_domain: str, clock: Clock = time.time) -> None:
        self._trust_domain, self._clock = trust_domain, clock
        self._bundles = Bundles(trust_domain)
        #: The connections of this generation, and those of the generation before.
        self._connections: dict[tuple[Any, ...], Peer] = {}
        self._earlier: dict[tuple[Any, ...], Peer] = {}
        self._next_generation = 0.0
        #: All peers in use, by their certificates. A peer is in use while a generation or a call has it.
        self._certificates = weakref.WeakValueDictionary[tuple[bytes, ...], Peer]()
        self._end_streams: EndStreams | None = None
        self._changed = False
        self.ended_streams = 0
        self._next_end = float("inf")

    def attach(self, end_streams: EndStreams) -> None:
        """Set the function that ends the streams of peers that are no longer accepted."""
        self._end_streams = end_streams

    def trust(self, bundle: Bundle, federated: Mapping[str, Bundle] | None = None) -> None:
        """Accept only peers that these bundles verify from now on.

        Args:
            bundle: The bundle of our own trust domain.
            federated: The bundles of other trust domains, by name.
        """
        bundles = Bundles(self._trust_domain, bundle, federated or {})
        if bundles != self._bundles:
            self._bundles, self._changed, self._next_end = bundles, True, 0.0
            self._begin_generation()  # so that every connection is read again

    def identify(self, context: Any) -> Peer:
        """Return the peer of a call's connection.

        Raises:
            RefusedError: The peer is not, or no longer, accepted.
        """
        # Reading the whole authentication context takes ten times as long as reading the identities.
        # The key holds the identities, so a port that another workload uses later is no hit. But the CA of
        # another trust domain can write any identities, and the handshake accepts it: then only the
        # certificate tells who it is.
        key = (context.peer(), *(context.peer_identities() or ()))
        peer = None if self._bundles.federated else self._connections.get(key)
        if peer is not None and peer.bundles is self._bundles and self._clock() < peer.ends:
            return peer
        # The peer is unknown or no longer accepted, or its port is used again with a renewed certificate.
        peer = self._read(context.auth_context())
        if len(self._connections) >= _MAX_CONNECTIONS:
            self._begin_generation()
        self._connections[key] = peer
        self._require(peer)
        return peer

    def pending(self) -> list[Peer]:
        """Return the peers to verify again, for `verify_all`. Empty unless the bundle has changed."""
        changed, self._changed = self._changed, False
        return [peer for peer in self._alive() if peer.bundles is not self._bundles] if changed else []

    def verify_all(self, peers: Sequence[Peer]) -> None:
        """Verify these peers with the current bundle. May run on a thread."""
        for peer in peers:
            peer.verify(self._bundles, self._clock())

    def sweep(self) -> int:
        """End the streams of peers that are no longer accepted, and forget idle connections.

        Returns:
            The number of streams that it ended.
        """
        now = self._clock()
        if now >= self._next_generation:
            self._next_generation = now + GENERATION
            self._begin_generation()
        if now < self._next_end:
            return 0
        alive = self._alive()
        ended = [peer for peer in alive if now >= peer.ends]
        self._next_end = min((p.ends for p in alive if now < p.ends), default=float("inf"))
        ending = sum(map(self._end, ended))
        self.ended_streams += ending
        return ending

    def _end(self, peer: Peer) -> int:
        if self._end_streams is None or peer.refusal is None:
            return 0
        text = f"{peer.refusal.text}; connect again with a valid one"
        ending = self._end_streams(lambda call: call.peer is peer, lambda: Unavailable(text))
        if ending:  # otherwise nobody was refused: a certificate that has been replaced expires, too
            self._tell(peer)
        return ending

    def _require(self, peer: Peer) -> None:
        now = self._clock()
        if peer.bundles is not self._bundles:
            peer.verify(self._bundles, now)
        if now >= peer.ends:
            assert peer.refusal is not None
            self._tell(peer)
            raise RefusedError(peer.refusal)
        self._next_end = min(self._next_end, peer.ends)

    def _tell(self, peer: Peer) -> None:
        """Log the refusal of a peer, once for each certificate in use."""
        if not peer.told and peer.refusal is not None:
            peer.told = True
            serial = peer.certificate.serial_number
            _log.warning("%s is refused: %s (serial %x)", peer.workload, peer.refusal.text, serial)

    def _read(self, auth: AuthContext) -> Peer:
        require_tls13(auth)  # of each connection, whatever is remembered of its certificate
        certificates = shown(auth)
        if peer := self._certificates.get(certificates):
            return peer
        peer = read(auth, self._bundles)
        self._certificates[certificates] = peer
        return peer

    def _alive(self) -> list[Peer]:
        return list(self._certificates.values())

    def _begin_generation(self) -> None:
        """Forget the connections without a call since the last generation began.

        The others are read again at their next call. Their certificates are still known.
        """
        self._earlier, self._connections = self._connections, {}
