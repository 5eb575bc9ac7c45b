"""One trust bundle per trust domain: a foreign CA can issue identities of its own domain only."""

from pathlib import Path

import pytest

from grpcmesh.ca import write_atomically
from grpcmesh.config import IdentityConfig
from grpcmesh.identity import IdentityStore, Material, ServerIdentity, judge
from grpcmesh.identity.bundles import Bundles, federated
from grpcmesh.identity.layer import IdentityLayer
from tests.identity_cases import ROOT, over
from tests.pki import DAY, NOW, Authority, Pair, pem
from tests.unit.test_identity_layer import Server, context

PARTNER, THIRD = Authority("partner"), Authority("third")
BUYER = "spiffe://partner.example/ns/shop/sa/buyer"
OURS = "spiffe://cluster.local/ns/default/sa/client"


class Federation(Server):
    """A server of cluster.local that also trusts partner.example and third.example."""

    def __init__(self, directory: Path) -> None:
        bundles = {}
        for domain, authority in (("partner.example", PARTNER), ("third.example", THIRD)):
            path = directory / f"{domain}.pem"
            path.write_bytes(authority.pem)
            bundles[domain] = str(path)
        self.now, self.directory = NOW.timestamp(), directory / "certs"
        self.trust()
        config = IdentityConfig(self.directory, bundles=bundles)
        self.store = IdentityStore(config, clock=lambda: self.now)
        self.store.load()
        self.layer = IdentityLayer("cluster.local", self.store)
        self.calls, self.ended = [], []
        self.store.peers.attach(self._end_streams)


@pytest.fixture
def server(tmp_path: Path) -> Federation:
    return Federation(tmp_path)


def shown(authority: Authority, uri: str) -> Pair:
    return authority.issue("client", uris=[uri])


def test_a_workload_of_another_trust_domain_is_identified_by_the_bundle_of_that_domain(
    server: Federation,
) -> None:
    assert str(server.serve(context(shown(PARTNER, BUYER))).workload) == BUYER
    assert str(server.serve(context(shown(ROOT, OURS), peer="ipv4:127.0.0.1:2")).workload) == OURS


@pytest.mark.parametrize(
    ("authority", "uri"),
    [
        (PARTNER, OURS),
        (PARTNER, "spiffe://third.example/ns/shop/sa/buyer"),
        (ROOT, BUYER),
        (THIRD, OURS),
    ],
    ids=["partner as ours", "partner as third", "ours as partner", "third as ours"],
)
def test_a_ca_cannot_issue_identities_of_another_domain(
    server: Federation, authority: Authority, uri: str
) -> None:
    assert "neither in ca.crt nor an intermediate" in server.refuse(context(shown(authority, uri)))
    assert server.refusals() == {"untrusted": 1}


def test_nor_by_an_intermediate_or_a_ca_of_our_name(server: Federation) -> None:
    minting = PARTNER.issue("client", uris=[OURS], chain=[Authority("between", PARTNER)])
    server.refuse(context(minting))
    namesake = Authority("root")
    server.refuse(context(shown(namesake, OURS)))


def test_nor_on_a_port_from_which_the_workload_that_it_names_has_just_called(server: Federation) -> None:
    """Both may come through one gateway, which gives a port of its own to one connection after another."""
    for rightful, forger, uri in ((ROOT, PARTNER, OURS), (PARTNER, ROOT, BUYER)):
        genuine, forged = context(shown(rightful, uri)), context(shown(forger, uri))
        assert str(server.serve(genuine).workload) == uri
        server.refuse(forged)
        assert str(server.serve(genuine).workload) == uri


def test_nor_by_a_certificate_of_ours_that_does_not_say_that_it_is_a_ca(server: Federation) -> None:
    """Nobody but the CA decides who may sign (RFC 5280, 6.1.4 k)."""
    between = Authority("between", ROOT, basic=False)
    server.refuse(context(between.issue("client", uris=[OURS], chain=[between])))


def test_a_domain_without_a_bundle_is_refused(server: Federation) -> None:
    server.refuse(context(shown(ROOT, "spiffe://stranger.example/ns/shop/sa/buyer")))
    assert server.refusals() == {"foreign_trust_domain": 1}


def test_a_domain_whose_bundle_changes_loses_its_peers_and_no_others_do(
    server: Federation, tmp_path: Path
) -> None:
    theirs, ours = context(shown(PARTNER, BUYER)), context(shown(ROOT, OURS), peer="ipv4:127.0.0.1:2")
    server.serve(theirs)
    server.serve(ours)
    (tmp_path / "partner.example.pem").write_bytes(Authority("renewed").pem)
    server.reload()
    assert [str(call.workload) for call, _ in server.ended] == [BUYER]
    server.refuse(theirs)
    assert server.serve(ours).workload


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", pem(ROOT.issue("leaf").certificate), b"\xff" * 2_000_000]
)
def test_a_bad_bundle_of_another_domain_costs_that_domain_only(
    server: Federation, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "partner.example.pem").write_bytes(content)
    server.trust()  # and our own certificate is renewed at the same time
    server.reload()
    assert "trust domain partner.example has no usable CA" in caplog.text
    assert server.store.current.federated.keys() == {"third.example"}
    server.refuse(context(shown(PARTNER, BUYER)))
    assert server.serve(context(shown(ROOT, OURS), peer="ipv4:127.0.0.1:2")).workload


def test_a_bundle_for_our_own_domain_from_elsewhere_is_ignored() -> None:
    given = {"cluster.local": PARTNER.pem, "partner.example": PARTNER.pem}
    assert federated(given, "cluster.local", NOW.timestamp()).keys() == {"partner.example"}


def test_our_cas_come_first_in_handshakes() -> None:
    bundles = Bundles("cluster.local", (ROOT.certificate,), {"a": (PARTNER.certificate,)})
    assert bundles.pem() == ROOT.pem + PARTNER.pem


def test_a_client_verifies_a_server_with_the_bundle_of_its_domain(server: Federation) -> None:
    own = server.store.current
    seller = "spiffe://partner.example/ns/shop/sa/seller"

    def accepted(authority: Authority, expected: str, uri: str = "") -> bool:
        certificate = authority.issue("seller", uris=[uri or expected])
        verdict = judge(pem(certificate.certificate), ServerIdentity("seller", expected), own, server.now)
        return verdict.proved and verdict.ends > server.now

    assert accepted(PARTNER, seller)
    assert not accepted(ROOT, seller)
    assert not accepted(PARTNER, OURS)
    assert accepted(ROOT, OURS)
    assert accepted(PARTNER, "spiffe://partner.example/**", seller)
    assert accepted(PARTNER, "spiffe://partner.example/ns/*/sa/seller", seller)
    assert not accepted(PARTNER, "spiffe://partner.example/ns/*/sa/buyer", seller)


def test_a_process_may_have_an_id_of_any_path(tmp_path: Path) -> None:
    uri = "spiffe://cluster.local/web/frontend"
    files: Material = over(ROOT.issue("web", uris=[uri], ends=30 * DAY), ROOT)
    names = {"tls.crt": files.cert_chain, "tls.key": files.private_key, "ca.crt": files.ca}
    write_atomically(tmp_path, names)
    store = IdentityStore(IdentityConfig(tmp_path), clock=NOW.timestamp)
    store.load()
    assert str(store.current.workload) == uri
