"""The small certificate authority: what it issues is taken by the mesh, and nothing else is issued."""

import datetime
import stat
from pathlib import Path

import pytest
from cryptography import x509

from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from grpcmesh.identity import Expected, Material, diagnose
from tests.pki import Authority, key_pem, rsa_key

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime.datetime:
        return self.now


def problems(leaf: Leaf, at: datetime.datetime, dns_name: str = "") -> list[str]:
    files = Material(leaf.tls_crt, leaf.tls_key, leaf.ca_crt)
    return [
        str(p) for p in diagnose(files, Expected("example.org", dns_name=dns_name), at.timestamp()).problems
    ]


def authority(clock: Clock, lifetime: datetime.timedelta = 100 * DAY) -> CertificateAuthority:
    return CertificateAuthority(
        "example.org", "shop", 7, lifetime, cluster_domain="cluster.test", clock=clock
    )


def test_what_it_issues_is_what_the_mesh_takes() -> None:
    clock = Clock()
    leaf = authority(clock).issue("order")
    assert not problems(leaf, NOW, "order.shop.svc.cluster.test")
    assert not problems(leaf, NOW - datetime.timedelta(minutes=4))  # by a clock that is behind
    assert "expired" in problems(leaf, NOW + DAY)[0]


def extension(
    certificate: x509.Certificate, kind: type[x509.ExtensionType]
) -> x509.Extension[x509.ExtensionType]:
    return certificate.extensions.get_extension_for_class(kind)


def test_certificates_say_what_they_are_for() -> None:
    ca = authority(Clock())
    leaf, top = ca.issue("order").certificate, ca.certificate
    assert (top.subject.rfc4514_string()) == "CN=shop mesh CA generation 7,O=grpcmesh"
    for certificate, is_ca in ((top, True), (leaf, False)):
        constraints = extension(certificate, x509.BasicConstraints)
        assert (constraints.critical, constraints.value.ca) == (True, is_ca)  # type: ignore[attr-defined]
        usage = extension(certificate, x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_cert_sign is is_ca  # type: ignore[attr-defined]
        assert usage.value.digital_signature is not is_ca  # type: ignore[attr-defined]
    own = extension(top, x509.SubjectKeyIdentifier).value.digest  # type: ignore[attr-defined]
    assert extension(leaf, x509.AuthorityKeyIdentifier).value.key_identifier == own  # type: ignore[attr-defined]
    assert extension(leaf, x509.SubjectKeyIdentifier).value.digest != own  # type: ignore[attr-defined]


def test_serial_numbers_are_unlike_each_other_and_hold_enough_chance() -> None:
    ca = authority(Clock())
    serials = {ca.issue("order").certificate.serial_number for _ in range(20)}
    assert len(serials) == 20
    assert max(serials).bit_length() > 128
    assert all(0 < serial < 1 << 159 for serial in serials)


def test_a_leaf_never_outlives_the_ca_and_none_is_issued_after_its_end() -> None:
    clock = Clock()
    ca = authority(clock, lifetime=10 * DAY)
    clock.now += 9 * DAY
    assert ca.left() == DAY
    leaf = ca.issue("order", lifetime=5 * DAY)
    assert leaf.certificate.not_valid_after_utc == ca.certificate.not_valid_after_utc
    clock.now += DAY
    with pytest.raises(ValueError, match="the CA expired at 2030-01-11"):
        ca.issue("order")


@pytest.mark.parametrize("service", ["", "..", "a/b", "a b", "ä", "a%20b", "a" * 3000])
def test_a_name_that_cannot_be_an_identity_is_refused(service: str) -> None:
    with pytest.raises(ValueError, match="is not a SPIFFE id"):
        authority(Clock()).issue(service)


def test_a_ca_that_was_kept_issues_as_before() -> None:
    clock = Clock()
    made = authority(clock)
    kept = CertificateAuthority.load(made.pem, made.key_pem, "example.org", "shop", clock=clock)
    assert kept.certificate == made.certificate
    assert not problems(kept.issue("order"), NOW)


def test_files_that_are_not_those_of_a_ca_are_refused() -> None:
    one, other = authority(Clock()), authority(Clock())
    leaf = one.issue("order")

    def load(certificate: bytes, key: bytes) -> None:
        CertificateAuthority.load(certificate, key, "example.org", "shop")

    with pytest.raises(ValueError, match="does not belong"):
        load(one.pem, other.key_pem)
    with pytest.raises(ValueError, match="not that of a CA"):
        load(leaf.tls_crt, leaf.tls_key)
    rsa = Authority("rsa", key=rsa_key(2048))
    with pytest.raises(ValueError, match="not an elliptic curve key"):
        load(rsa.pem, key_pem(rsa.key))
    with pytest.raises(ValueError):  # noqa: PT011 - in OpenSSL's words
        load(b"rubbish", one.key_pem)


def test_files_are_swapped_at_once_and_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    ca = authority(Clock())
    first, second = ca.issue("order"), ca.issue("order")
    write_atomically(tmp_path / "order", first.files())
    seen = (tmp_path / "order" / "..data").resolve()
    write_atomically(tmp_path / "order", second.files())
    assert not seen.exists()
    assert {n: (tmp_path / "order" / n).read_bytes() for n in second.files()} == second.files()
    assert stat.S_IMODE((tmp_path / "order" / "tls.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "order").stat().st_mode) == 0o700
