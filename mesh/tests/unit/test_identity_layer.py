import pytest

from grpcmesh.call import Workload
from grpcmesh.errors import Unauthenticated
from grpcmesh.identity import HandshakeMonitor, IdentityLayer
from tests.unit.fakes import FakeContext, call, samples

CLIENT = b"spiffe://cluster.local/ns/meshmart/sa/client"


def context(
    *uris: bytes, version: bytes = b"TLSv1.3", peer: str = "ipv4:127.0.0.1:40000", dns: bytes = b"client"
) -> FakeContext:
    auth = {
        "ssl_tls_version": [version],
        "peer_uri": list(uris),
        "x509_subject_alternative_name": [dns, *uris],
    }
    return FakeContext(auth=auth, peer=peer)


def refusals(layer: IdentityLayer) -> dict[str, float]:
    return {k.partition("reason=")[2][:-1]: v for k, v in samples(layer).items() if v}


def test_the_caller_is_who_its_certificate_says() -> None:
    made = call(context=context(CLIENT))
    IdentityLayer("cluster.local").on_start(made)
    assert made.workload == Workload("cluster.local", "meshmart", "client")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (context(CLIENT, version=b"TLSv1.2"), "tls_version"),
        (FakeContext(), "tls_version"),
        (context(), "no_spiffe_id"),
        (context(b"https://client"), "no_spiffe_id"),
        (context(CLIENT, CLIENT), "no_spiffe_id"),
        (context(b"\xff\xfe"), "no_spiffe_id"),
        (context(b"spiffe://elsewhere/ns/meshmart/sa/client"), "foreign_trust_domain"),
    ],
)
def test_anybody_else_is_refused_and_counted(seen: FakeContext, reason: str) -> None:
    layer = IdentityLayer("cluster.local")
    for number in (1, 2):
        made = call(context=seen)
        with pytest.raises(Unauthenticated):
            layer.on_start(made)
        assert made.workload is None
        assert refusals(layer) == {reason: number}


def test_a_connection_is_looked_at_once() -> None:
    layer, seen = IdentityLayer("cluster.local"), context(CLIENT)
    for _ in range(3):
        layer.on_start(call(context=seen))
    assert seen.auth_reads == 1


def test_a_port_used_by_another_workload_next_is_that_workload() -> None:
    layer = IdentityLayer("cluster.local")
    layer.on_start(call(context=context(CLIENT)))
    made = call(context=context(CLIENT.replace(b"client", b"order"), dns=b"order"))
    layer.on_start(made)
    assert made.workload is not None
    assert made.workload.service == "order"


def test_memory_of_connections_is_bounded() -> None:
    layer = IdentityLayer("cluster.local")
    seen = [context(CLIENT, peer=f"ipv4:127.0.0.1:{port}") for port in range(3000)]
    for each in seen:
        layer.on_start(call(context=each))
    layer.on_start(call(context=seen[0]))
    assert seen[0].auth_reads == 2


def test_callers_are_reported_while_a_handshake_is_pending() -> None:
    monitor = HandshakeMonitor()
    layer = IdentityLayer("cluster.local", monitor)
    layer.on_start(call(context=context(CLIENT, peer="a")))
    monitor.begin()
    layer.on_start(call(context=context(CLIENT, peer="b")))
    assert not monitor.pending
