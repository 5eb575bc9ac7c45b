"""The expected identity of a target, checks of server certificates, and gRPC's error details."""

import time
from pathlib import Path

import pytest

from grpcmesh.ca import write_atomically
from grpcmesh.client.guard import Guard, Guards
from grpcmesh.config import ConfigError, IdentityConfig, MeshConfig
from grpcmesh.identity import (
    Cause,
    Credentials,
    IdentityStore,
    ServerIdentity,
    explain,
    judge,
    server_identity,
)
from tests.identity_cases import ROOT, over
from tests.pki import DAY, NOW, Authority, Pair, pem, spiffe_id

EXPECTED = ServerIdentity("ping.default.svc.cluster.local", spiffe_id("ping"))


def config(**servers: str) -> MeshConfig:
    return MeshConfig("client", namespace="shop", identity=IdentityConfig(servers=servers))


@pytest.mark.parametrize(
    ("target", "dns_name", "expected"),
    [
        ("order", "order.shop.svc.cluster.local", spiffe_id("order", "shop")),
        ("order:50051", "order.shop.svc.cluster.local", spiffe_id("order", "shop")),
        ("order.bank", "order.bank.svc.cluster.local", spiffe_id("order", "bank")),
        ("order.bank.svc.cluster.local", "order.bank.svc.cluster.local", spiffe_id("order", "bank")),
        ("api.example.com", "api.example.com", ""),
        ("api.example.com:443", "api.example.com", ""),
    ],
)
def test_a_service_of_the_cluster_is_expected_by_its_spiffe_id(
    target: str, dns_name: str, expected: str
) -> None:
    assert server_identity(config(), target) == ServerIdentity(dns_name, expected)


def test_whom_to_expect_can_be_set_for_each_target() -> None:
    settings = config(order="spiffe://bank/live/order", user="dns", **{"api.example.com": "spiffe://x/api"})
    assert server_identity(settings, "order").spiffe_id == "spiffe://bank/live/order"
    assert server_identity(settings, "user") == ServerIdentity("user.shop.svc.cluster.local")
    assert server_identity(settings, "api.example.com").spiffe_id == "spiffe://x/api"


@pytest.mark.parametrize(
    "wrong", ["", "DNS", "spiffe://", "spiffe://a", "spiffe://*/b", "spiffe://a/**/b", "spiffe://A/b", "a/b"]
)
def test_a_setting_that_is_no_id_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"identity\.servers: order="):
        config(order=wrong)


def test_it_is_read_from_the_environment() -> None:
    environ = {"MESH_IDENTITY_SERVERS": "order=spiffe://bank/ns/live/sa/order, api.example.com:443=dns"}
    servers = MeshConfig.from_env(environ, service="client").identity.servers
    assert servers == {"order": "spiffe://bank/ns/live/sa/order", "api.example.com:443": "dns"}


def test_the_authority_of_a_member_is_its_id_and_of_any_other_server_its_name() -> None:
    assert EXPECTED.options["grpc.default_authority"] == f"[{spiffe_id('ping')}]"
    assert EXPECTED.options["grpc.ssl_target_name_override"] == EXPECTED.dns_name
    assert ServerIdentity("api.example.com").options["grpc.default_authority"] == "api.example.com"


def own(*bundle: Authority, chain: tuple[Authority, ...] = ()) -> Credentials:
    files = over((chain or bundle or (ROOT,))[0].issue("client", ends=9 * DAY, chain=chain), *bundle)
    return Credentials.parse(files.cert_chain, files.private_key, files.ca)


def leaf(pair: Pair) -> bytes:
    return pem(pair.certificate)


def test_a_server_is_accepted_until_its_certificate_ends() -> None:
    found = judge(leaf(ROOT.issue(ends=DAY)), EXPECTED, own(), time.time())
    assert found.ends == (NOW + DAY).timestamp()
    assert (found.cause, found.proved) == (Cause.EXPIRED, True)


def test_or_until_a_ca_above_it_ends() -> None:
    short = Authority("short", ends=DAY / 2)
    found = judge(leaf(short.issue(ends=DAY)), EXPECTED, own(ROOT, short), time.time())
    assert found.ends == (NOW + DAY / 2).timestamp()
    assert found.cause is Cause.ISSUER_EXPIRED
    assert "CN=short" in found.text


def test_an_intermediate_that_is_ours_too_proves_the_server_and_an_unknown_one_does_not() -> None:
    middle = Authority("middle", ROOT, ends=DAY / 2)
    shown = leaf(middle.issue(ends=DAY))
    known = judge(shown, EXPECTED, own(ROOT, chain=(middle,)), time.time())
    unknown = judge(shown, EXPECTED, own(), time.time())
    assert (known.proved, known.cause) == (True, Cause.ISSUER_EXPIRED)
    assert (unknown.proved, unknown.cause) == (False, Cause.EXPIRED)
    assert unknown.ends == (NOW + DAY).timestamp()


@pytest.mark.parametrize(
    ("shown", "cause"),
    [
        (ROOT.issue(uris=[spiffe_id("order")]), Cause.WRONG_WORKLOAD),
        (ROOT.issue(uris=[spiffe_id("ping"), spiffe_id("order")]), Cause.WRONG_WORKLOAD),
        (ROOT.issue(uris=[]), Cause.WRONG_WORKLOAD),
        (ROOT.issue(uris=["spiffe://cluster.local/" + "a" * 10_000]), Cause.WRONG_WORKLOAD),
        (ROOT.issue(ca=True), Cause.CA_CERTIFICATE),
    ],
)
def test_who_is_not_accepted_at_all(shown: Pair, cause: Cause) -> None:
    found = judge(leaf(shown), EXPECTED, own(), time.time())
    assert (found.ends, found.cause) == (0, cause)
    assert len(found.text) < 300
    assert found.text.isprintable()


@pytest.mark.parametrize(
    "shown", [b"", b"\xff\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_bytes_that_are_no_certificate_are_not_accepted(shown: bytes) -> None:
    assert judge(shown, EXPECTED, own(), time.time()).cause is Cause.MALFORMED


_FAILED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
_TLS = f"{_FAILED}Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: error:1000007d:SSL routines:"
_VERIFY = f"{_TLS}OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: "


@pytest.mark.parametrize(
    ("details", "cause"),
    [
        (f"{_VERIFY}certificate has expired: OK", Cause.EXPIRED),
        (f"{_VERIFY}certificate is not yet valid: OK", Cause.NOT_YET_VALID),
        (f"{_VERIFY}unable to get local issuer certificate: OK", Cause.UNKNOWN_ISSUER),
        (f"{_TLS}OPENSSL_internal:BAD_SIGNATURE: certificate signature failure: OK", Cause.UNKNOWN_ISSUER),
        (f"{_VERIFY}unsupported certificate purpose: OK", Cause.EXTENDED_KEY_USAGE),
        (f"{_VERIFY}path length constraint exceeded: OK", Cause.HANDSHAKE),
        (f"{_FAILED}Custom verification check failed with error: UNAUTHENTICATED: Hostname Verification "
         "Check failed.", Cause.DNS_NAME),
        ("call host does not match SSL server name", Cause.WRONG_WORKLOAD),
        (f"{_FAILED}Failed to create security handshaker.", Cause.HANDSHAKE),
        (f"{_FAILED}Handshake read failed (Socket closed)", Cause.HANDSHAKE),
        (f"{_FAILED}Failed to connect to remote host: Connection refused", None),
        ("Deadline Exceeded", None),
        ("", None),
    ],
)  # fmt: skip
def test_grpcs_words_are_explained(details: str, cause: Cause | None) -> None:
    found = explain(details)
    assert (found[0] if found else None) is cause


class Watched:
    """A guard whose server has shown a certificate, in virtual time."""

    def __init__(self, directory: Path, shown: Pair, *bundle: Authority) -> None:
        self.now = NOW.timestamp()
        files = over((bundle or (ROOT,))[0].issue("client", ends=9 * DAY), *bundle)
        write_atomically(
            directory, {"tls.crt": files.cert_chain, "tls.key": files.private_key, "ca.crt": files.ca}
        )
        store = IdentityStore(IdentityConfig(directory), clock=lambda: self.now)
        store.load()
        self.guard = Guard(Guards("ping", EXPECTED, store, 30.0), "ipv4:127.0.0.1:1", "127.0.0.1:1")
        self.guard.accept(leaf(shown))


def test_a_ca_that_has_left_the_bundle_is_refused_at_once(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    watched = Watched(tmp_path, old.issue(), new, old)
    assert not watched.guard.refusal()
    watched.guard.trust(own(new))
    assert "has left our bundle" in watched.guard.refusal()
    watched.guard.trust(own(new, old))
    assert not watched.guard.refusal()


def test_a_renewed_leaf_over_the_same_bundle_changes_nothing(tmp_path: Path) -> None:
    watched = Watched(tmp_path, ROOT.issue())
    watched.guard.trust(own(ROOT))
    assert not watched.guard.refusal()


def test_a_server_behind_an_unknown_intermediate_is_kept_for_a_while_and_no_longer(tmp_path: Path) -> None:
    middle = Authority("middle", ROOT)
    watched = Watched(tmp_path, middle.issue(ends=5 * DAY))
    assert not watched.guard.refusal()
    watched.guard.trust(own(ROOT, Authority("more")))
    assert not watched.guard.refusal()
    watched.now += 31
    assert "cannot be verified" in watched.guard.refusal()


def test_our_own_end_is_the_connections_end(tmp_path: Path) -> None:
    watched = Watched(tmp_path, ROOT.issue(ends=20 * DAY))
    watched.now = (NOW + 9 * DAY).timestamp()
    assert "our own certificate expired at" in watched.guard.refusal()
    assert "our own certificate expired at" in watched.guard.explain("Socket closed")


def test_a_server_that_may_refuse_our_certificate_is_told_of(tmp_path: Path) -> None:
    watched = Watched(tmp_path, ROOT.issue(ends=20 * DAY))
    assert watched.guard.explain("Socket closed") == "Socket closed"
    told = watched.guard.explain("Socket closed", unanswered=True)
    assert "may not accept our certificate (spiffe://" in told
    assert "issued by 'CN=" in told
    assert told.endswith("(Socket closed)")
    assert watched.guard.explain("too busy", unanswered=True) == "too busy"


def test_a_pattern_of_ids_is_checked_by_the_mesh_and_the_dns_name_by_grpc() -> None:
    expected = server_identity(config(order="spiffe://bank/*/order"), "order")
    assert expected.options["grpc.default_authority"] == expected.dns_name
    assert (expected.is_pattern, expected.domain) == (True, "bank")
