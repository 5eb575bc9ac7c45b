"""Turns the peer's certificate into `call.workload`, or refuses the call."""

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.call import ServerCall, ServerLayer, Workload
from grpcmesh.errors import Unauthenticated
from grpcmesh.identity.handshakes import HandshakeMonitor

#: Connections whose identity is remembered.
_CACHE_SIZE = 1024


class IdentityLayer(ServerLayer):
    """Every caller of the mesh port is a workload of this trust domain, over TLS 1.3.

    grpc cannot refuse an older TLS in the handshake (Python has no access to the setting), so the call is.

    Args:
        trust_domain: Of the identities accepted.
        handshakes: Told of callers while one of its handshakes is pending.
    """

    def __init__(self, trust_domain: str, handshakes: HandshakeMonitor | None = None) -> None:
        self._trust_domain = trust_domain
        self._handshakes = handshakes or HandshakeMonitor()
        self._pending = self._handshakes.pending
        self._cache: dict[tuple[Any, ...], Workload] = {}
        self._refused = {"tls_version": 0, "no_spiffe_id": 0, "foreign_trust_domain": 0}

    def on_start(self, call: ServerCall) -> None:
        context = call.context
        peer = context.peer()
        if self._pending:
            self._handshakes.saw_call(peer)
        # Reading the whole authentication context takes ten times as long as reading the identities.
        # They are of this very connection, so a port that is used anew by another workload misses.
        key = (peer, *(context.peer_identities() or ()))
        workload = self._cache.get(key)
        if workload is None:
            workload = self._identify(context.auth_context())
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[key] = workload
        call.workload = workload

    def metrics(self) -> Iterable[Metric]:
        refused = CounterMetricFamily(
            "mesh_identity_refused", "Calls refused for what the connection is, by reason.", labels=["reason"]
        )
        for reason, count in self._refused.items():
            refused.add_metric([reason], count)
        yield refused

    def _identify(self, auth: Any) -> Workload:
        version = _first(auth.get("ssl_tls_version"))
        if version != "TLSv1.3":
            self._refuse("tls_version", f"TLS 1.3 is required, the connection has {version or 'none'}")
        uris = auth.get("peer_uri") or auth.get("peer_spiffe_id") or ()
        workload = Workload.parse(_first(uris)) if len(uris) == 1 else None
        if workload is None:
            self._refuse("no_spiffe_id", "the client certificate needs exactly one SPIFFE URI")
        if workload.trust_domain != self._trust_domain:
            self._refuse("foreign_trust_domain", f"{workload} is of another trust domain")
        return workload

    def _refuse(self, reason: str, message: str) -> NoReturn:
        self._refused[reason] += 1
        raise Unauthenticated(message)


def _first(values: Sequence[bytes] | None) -> str:
    return values[0].decode(errors="replace") if values else ""
