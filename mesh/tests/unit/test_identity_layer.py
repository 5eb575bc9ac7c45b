"""Calls that are rejected because their connection never was acceptable, or no longer is."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from grpcmesh.ca import write_atomically
from grpcmesh.call import ServerCall, Workload
from grpcmesh.config import IdentityConfig
from grpcmesh.errors import MeshError, Unauthenticated, Unavailable
from grpcmesh.identity import IdentityLayer, IdentityStore, peers
from grpcmesh.identity.leaf import dns_names, uris
from grpcmesh.identity.old_tls import VERSION_IS_TOLD
from tests.identity_cases import ROOT, over
from tests.pki import DAY, NOW, Authority, Pair, malformed_uri, pem, spiffe_id
from tests.unit.fakes import FakeContext, call, samples


def context(shown: Pair, version: bytes = b"TLSv1.3", peer: str = "ipv4:127.0.0.1:40000") -> FakeContext:
    """Return the context of a call over a connection on which this certificate was shown."""
    names = [uri.encode() for uri in uris(shown.certificate)]
    auth = {
        "ssl_tls_version": [version],
        "peer_uri": names,
        "x509_pem_cert": [pem(shown.certificate)],
        "x509_pem_cert_chain": [pem(*shown.chain)] if shown.chain else [],
        "x509_subject_alternative_name": [*(n.encode() for n in dns_names(shown.certificate)), *names],
    }
    return FakeContext(auth=auth, peer=peer)


class Server:
    """An identity layer over a store, in virtual time."""

    def __init__(self, directory: Path, *bundle: Authority) -> None:
        self.now, self.directory = NOW.timestamp(), directory
        self.trust(*bundle)
        self.store = IdentityStore(IdentityConfig(directory), clock=lambda: self.now)
        self.store.load()
        self.layer = IdentityLayer("cluster.local", self.store)
        self.calls: list[ServerCall] = []
        self.ended: list[tuple[ServerCall, MeshError]] = []
        self.store.peers.attach(self._end_streams)

    def trust(self, *bundle: Authority) -> None:
        files = over((bundle or (ROOT,))[0].issue(ends=30 * DAY), *bundle)
        names = {"tls.crt": files.cert_chain, "tls.key": files.private_key, "ca.crt": files.ca}
        write_atomically(self.directory, names)

    def serve(self, seen: FakeContext) -> ServerCall:
        made = call(context=seen)
        self.layer.on_start(made)
        self.calls.append(made)
        return made

    def refuse(self, seen: FakeContext) -> str:
        with pytest.raises(Unauthenticated) as raised:
            self.serve(seen)
        return raised.value.message

    def reload(self) -> None:
        """Do what `IdentityStore.watch` does at each poll."""
        self.store.poll()
        self.store.peers.verify_all(self.store.peers.pending())
        self.store.peers.sweep()

    def refusals(self) -> dict[str, float]:
        counted = samples_of(self.layer)
        return {k.partition("reason=")[2][:-1]: v for k, v in counted.items() if v and "reason" in k}

    def _end_streams(self, which: Callable[[ServerCall], bool], error: Callable[[], MeshError]) -> int:
        ending = [made for made in self.calls if which(made)]
        self.ended += [(made, error()) for made in ending]
        return len(ending)


def samples_of(layer: IdentityLayer) -> dict[str, float]:
    class Source:
        collect = staticmethod(layer.metrics)

    return samples(Source)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


CLIENT = ROOT.issue("client")


def test_the_caller_is_who_its_certificate_says(server: Server) -> None:
    assert server.serve(context(CLIENT)).workload == Workload("cluster.local", "default", "client")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (context(CLIENT, version=b"TLSv1.2"), "tls_version"),
        (FakeContext(), "tls_version"),
        (context(ROOT.issue(uris=[])), "no_spiffe_id"),
        (context(ROOT.issue(uris=["https://client"])), "no_spiffe_id"),
        (context(ROOT.issue(uris=[spiffe_id("client")] * 2)), "no_spiffe_id"),
        (context(ROOT.issue(uris=[spiffe_id("client"), "https://client"])), "no_spiffe_id"),
        (context(ROOT.issue(uris=[spiffe_id("client", trust_domain="elsewhere")])), "foreign_trust_domain"),
        (context(Authority("foreign").issue()), "untrusted"),
        (context(Authority("middle", ROOT).issue()), "untrusted"),
        (context(ROOT.issue(begins=-2 * DAY, ends=-DAY)), "expired"),
        (context(ROOT.issue(ca=True)), "ca_certificate"),
    ],
)
def test_anybody_else_is_refused_and_counted(server: Server, seen: FakeContext, reason: str) -> None:
    for number in (1, 2):
        server.refuse(seen)
        assert not server.calls
        assert server.refusals() == {reason: number}


@pytest.mark.parametrize(
    "uri",
    [
        "\ufffd",
        "spiffe://cluster.local/ns/default/sa/p%69ng",
        "spiffe://CLUSTER.local/ns/default/sa/client",
        "SPIFFE://cluster.local/ns/default/sa/client",
        "spiffe://user@cluster.local/ns/default/sa/client",
        "spiffe://cluster.local:443/ns/default/sa/client",
        "spiffe://cluster.local/ns/default/sa/client?a=b",
        "spiffe://cluster.local/ns/default/sa/client#a",
        "spiffe://cluster.local/ns/default/sa/client/",
        "spiffe://cluster.local/ns/default/sa/client\n",
        "spiffe://cluster.local/ns/default/sa/client\0",
        "spiffe://cluster.local/ns/default/sa/../sa/client",
        "spiffe://cluster.local/ns/default/sa/..",
        "spiffe://cluster.local/ns/default/sa/" + "a" * 10_000,
    ],
)
def test_a_strange_uri_costs_its_own_call(server: Server, uri: str) -> None:
    strange = context(ROOT.issue(uris=[], names=[malformed_uri(uri.encode("ascii", "replace").decode())]))
    strange.auth = {**strange.auth, "peer_uri": [uri.encode()]}
    assert "SPIFFE" in server.refuse(strange)
    assert server.refusals() == {"no_spiffe_id": 1}
    server.serve(context(CLIENT))


@pytest.mark.parametrize("shown", [b"", b"\xff" * 100, b"-----BEGIN CERTIFICATE-----\n"])
def test_a_certificate_that_cannot_be_read_costs_its_own_call(server: Server, shown: bytes) -> None:
    strange = context(CLIENT)
    strange.auth = {**strange.auth, "x509_pem_cert": [shown]}
    server.refuse(strange)
    assert server.refusals() == {"malformed": 1}
    server.serve(context(CLIENT, peer="other"))


def test_a_connection_is_looked_at_once(server: Server) -> None:
    seen = context(CLIENT)
    for _ in range(3):
        server.serve(seen)
    assert seen.auth_reads == 1


def test_a_port_used_by_another_workload_next_is_that_workload(server: Server) -> None:
    server.serve(context(CLIENT))
    made = server.serve(context(ROOT.issue("order")))
    assert made.workload is not None
    assert made.workload.service == "order"


def test_memory_of_connections_and_certificates_is_bounded(server: Server) -> None:
    seen = [context(CLIENT, peer=f"ipv4:127.0.0.1:{port}") for port in range(10_000)]
    for each in seen:
        server.serve(each)
    server.serve(seen[0])
    assert seen[0].auth_reads == 2
    assert server.calls[0].peer is server.calls[-1].peer


def test_the_tls_version_is_of_each_connection_whatever_is_known_of_its_certificate(server: Server) -> None:
    server.serve(context(CLIENT))
    server.refuse(context(CLIENT, version=b"TLSv1.2", peer="ipv4:127.0.0.1:40001"))
    assert server.refusals() == {"tls_version": 1}


def test_a_connection_whose_tls_version_grpc_never_tells_is_the_handshakes_business(server: Server) -> None:
    seen = context(CLIENT)
    seen.auth = {**seen.auth, "ssl_tls_version": [], "transport_security_type": [b"ssl"]}
    if VERSION_IS_TOLD:
        server.refuse(seen)
    else:
        assert server.serve(seen).workload == Workload("cluster.local", "default", "client")


def test_callers_are_reported_while_a_handshake_is_pending(server: Server) -> None:
    monitor = server.store.handshakes
    server.serve(context(CLIENT, peer="a"))
    monitor.begin()
    server.serve(context(CLIENT, peer="b"))
    assert not monitor.pending


def test_an_expired_certificate_is_refused_on_an_open_connection(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    seen = context(ROOT.issue("client", ends=DAY))
    running = server.serve(seen)
    other = server.serve(context(ROOT.issue("order", ends=2 * DAY), peer="other"))
    server.now = (NOW + DAY).timestamp() - 1
    server.serve(seen)
    server.store.peers.sweep()
    assert not server.ended

    server.now += 1
    assert "expired at" in server.refuse(seen)
    server.refuse(seen)
    assert server.refusals() == {"expired": 2}
    server.store.peers.sweep()
    ended = {made for made, _ in server.ended}
    assert running in ended
    assert other not in ended
    assert all(isinstance(error, Unavailable) and "expired at" in error.message for _, error in server.ended)
    assert samples_of(server.layer)["mesh_identity_ended_streams_total"] == len(ended)
    assert len(caplog.records) == 1
    server.serve(other.context)  # type: ignore[arg-type]


def test_a_replaced_certificate_that_expires_is_no_refusal(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.serve(context(ROOT.issue("client", ends=DAY)))
    server.calls.clear()  # the call is over, and the caller has a new certificate
    server.now = (NOW + DAY).timestamp()
    server.store.peers.sweep()
    assert not server.ended
    assert not caplog.records


def test_a_certificate_is_forgotten_with_its_last_connection_and_call(server: Server) -> None:
    """A renewal of a caller's certificate leaves nothing behind. Each of them takes 13 kB."""
    server.serve(context(ROOT.issue("client"), peer="before the renewal"))
    before = weakref.ref(server.calls.pop().peer)
    renewed = context(ROOT.issue("client"), peer="after the renewal")
    server.serve(renewed)
    after = weakref.ref(server.calls[-1].peer)
    for _ in range(3):
        server.now += peers.GENERATION
        server.store.peers.sweep()
        server.serve(renewed)
    gc.collect()
    assert before() is None
    assert after() is server.calls[-1].peer


def test_a_certificate_stays_known_while_a_stream_uses_it(server: Server) -> None:
    """The connection makes no other call for many generations; when its certificate expires, it ends."""
    running = server.serve(context(ROOT.issue("client", ends=DAY)))
    for _ in range(5):
        server.now += peers.GENERATION
        server.store.peers.sweep()
    server.now = (NOW + DAY).timestamp()
    server.store.peers.sweep()
    assert [made for made, _ in server.ended] == [running]


def test_more_connections_than_are_remembered_are_served(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "_MAX_CONNECTIONS", 4)
    pairs = [ROOT.issue(f"client{number}") for number in range(10)]
    for number, pair in [*enumerate(pairs)] * 2:
        wanted = Workload("cluster.local", "default", f"client{number}")
        assert server.serve(context(pair, peer=str(number))).workload == wanted
    alive = [weakref.ref(made.peer) for made in server.calls[10:]]
    server.calls.clear()
    gc.collect()
    assert sum(peer() is not None for peer in alive) <= 2 * 4


def test_a_port_that_is_used_again_with_a_renewed_certificate_is_accepted(server: Server) -> None:
    server.serve(context(ROOT.issue("client", ends=DAY)))
    server.now = (NOW + DAY).timestamp()
    server.serve(context(ROOT.issue("client", ends=2 * DAY)))


def test_an_expired_intermediate_ends_what_stands_below_it(server: Server) -> None:
    middle = Authority("middle", ROOT, ends=DAY)
    seen = context(middle.issue("client", ends=5 * DAY, chain=[middle]))
    server.serve(seen)
    server.now = (NOW + DAY).timestamp()
    assert "CN=middle" in server.refuse(seen)


def test_a_peer_whose_issuer_has_left_the_bundle_is_refused_on_an_open_connection(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    server = Server(tmp_path, new, old)
    of_old, of_new = context(old.issue("client"), peer="a"), context(new.issue("client"), peer="b")
    running, staying = server.serve(of_old), server.serve(of_new)

    server.trust(new)
    server.reload()
    assert [made for made, _ in server.ended] == [running]
    assert "CN=old" in server.refuse(of_old)
    assert server.refusals() == {"untrusted": 1}
    server.serve(of_new)
    assert staying.peer is server.calls[-1].peer

    server.trust(new, old)
    server.reload()
    server.serve(of_old)


def test_a_new_bundle_is_looked_at_before_the_sweep_too(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    server = Server(tmp_path, new, old)
    seen = context(old.issue("client"))
    server.serve(seen)
    server.trust(new)
    server.store.poll()
    server.refuse(seen)


def test_without_a_bundle_nobody_is_accepted() -> None:
    with pytest.raises(Unauthenticated):
        IdentityLayer("cluster.local").on_start(call(context=context(CLIENT)))
