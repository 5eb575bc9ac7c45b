"""Sets `call.workload` from the peer's certificate, or refuses the call."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.call import ServerCall, ServerLayer
from grpcmesh.errors import Unauthenticated
from grpcmesh.identity.handshakes import HandshakeMonitor
from grpcmesh.identity.peer import RefusedError
from grpcmesh.identity.peers import Peers
from grpcmesh.identity.store import IdentityStore

#: The values of the label `reason`.
REASONS = (
    "tls_version",
    "no_spiffe_id",
    "foreign_trust_domain",
    "expired",
    "untrusted",
    "ca_certificate",
    "malformed",
)


class IdentityLayer(ServerLayer):
    """Refuses callers that are not a workload of this trust domain with a valid certificate over TLS 1.3.

    An older TLS version is refused in the handshake if the process asked for that
    (`grpcmesh.grpc_environment`), otherwise here.

    Args:
        trust_domain: The trust domain of the workloads that are accepted.
        identity: Holds the bundle that verifies peers. If None, every caller is refused.
    """

    def __init__(self, trust_domain: str, identity: IdentityStore | None = None) -> None:
        self._peers = identity.peers if identity else Peers(trust_domain)
        self._handshakes = identity.handshakes if identity else HandshakeMonitor()
        self._pending = self._handshakes.pending
        self._refused = dict.fromkeys(REASONS, 0)

    def on_start(self, call: ServerCall) -> None:
        context = call.context
        if self._pending:
            self._handshakes.saw_call(context.peer())
        try:
            peer = self._peers.identify(context)
        except RefusedError as e:
            self._refused[e.refusal.reason] += 1
            raise Unauthenticated(e.refusal.text) from None
        call.peer, call.workload = peer, peer.workload

    def metrics(self) -> Iterable[Metric]:
        refused = CounterMetricFamily(
            "mesh_identity_refused",
            "Calls refused because of the identity of their connection, by reason.",
            labels=["reason"],
        )
        for reason, count in self._refused.items():
            refused.add_metric([reason], count)
        yield refused
        yield CounterMetricFamily(
            "mesh_identity_ended_streams",
            "Open streams that were ended because the certificate of their connection had ended.",
            value=self._peers.ended_streams,
        )
