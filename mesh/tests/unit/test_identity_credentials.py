"""What a certificate, its key and a bundle must be to make an identity."""

import datetime

import pytest

from grpcmesh.ca import CertificateAuthority, Leaf
from grpcmesh.call import Workload
from grpcmesh.identity import Credentials, IdentityError
from tests.pki import DAY


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority()


def test_a_ca_of_the_longest_namespace_has_a_name_of_its_own() -> None:
    # A namespace has up to 63 characters, a common name 64.
    names = {
        CertificateAuthority(namespace="n" * 62 + last, generation=2_000_000_000).certificate.subject
        for last in "ab"
    }
    assert len(names) == 2


def problem(leaf: Leaf) -> str:
    with pytest.raises(IdentityError) as raised:
        Credentials.parse(leaf.tls_crt, leaf.tls_key, leaf.ca_crt)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_good_certificate_tells_who_it_is_for(ca: CertificateAuthority) -> None:
    leaf = ca.issue("ping")
    credentials = Credentials.parse(leaf.tls_crt, leaf.tls_key, leaf.ca_crt)
    assert credentials.workload == Workload("cluster.local", "default", "ping")
    assert credentials.serial == leaf.certificate.serial_number
    assert credentials.not_after == leaf.certificate.not_valid_after_utc.timestamp()


def test_a_private_key_is_not_in_the_repr(ca: CertificateAuthority) -> None:
    leaf = ca.issue("ping")
    assert "PRIVATE" not in repr(Credentials.parse(leaf.tls_crt, leaf.tls_key, leaf.ca_crt))


@pytest.mark.parametrize("cut", [0, 10, 300])
@pytest.mark.parametrize("name", ["tls_crt", "tls_key", "ca_crt"])
def test_a_half_written_file_is_refused(ca: CertificateAuthority, name: str, cut: int) -> None:
    leaf = ca.issue("ping")
    parts = {"tls_crt": leaf.tls_crt, "tls_key": leaf.tls_key, "ca_crt": leaf.ca_crt}
    parts[name] = parts[name][: min(cut, len(parts[name]) // 2)]
    assert "not a complete" in problem(Leaf(**parts))


def test_a_key_of_another_certificate_is_refused(ca: CertificateAuthority) -> None:
    one, other = ca.issue("ping"), ca.issue("ping")
    assert "does not belong" in problem(Leaf(one.tls_crt, other.tls_key, one.ca_crt))


def test_an_expired_certificate_is_refused(ca: CertificateAuthority) -> None:
    start = datetime.datetime.now(datetime.UTC) - 2 * DAY
    assert "expired" in problem(ca.issue("ping", lifetime=-DAY, not_before=start))


@pytest.mark.parametrize(
    "uris", [[], ["https://ping.example"], ["spiffe://a/ns/b/sa/c", "spiffe://a/ns/b/sa/d"]]
)
def test_a_certificate_without_exactly_one_spiffe_uri_is_refused(
    ca: CertificateAuthority, uris: list[str]
) -> None:
    assert "exactly one SPIFFE URI" in problem(ca.issue("ping", uris=uris))


def test_a_certificate_without_any_alternative_name_is_refused(ca: CertificateAuthority) -> None:
    assert "exactly one SPIFFE URI" in problem(ca.issue("ping", uris=[], dns_names=[]))
