import datetime
from pathlib import Path

import pytest

from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from grpcmesh.call import Workload
from grpcmesh.config import IdentityConfig
from grpcmesh.identity import Credentials, IdentityError, IdentityStore
from tests.unit.fakes import samples

DAY = datetime.timedelta(days=1)


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


@pytest.fixture
def store(ca: CertificateAuthority, tmp_path: Path) -> IdentityStore:
    write_atomically(tmp_path / "certs", ca.issue("ping").files())
    made = IdentityStore(IdentityConfig(tmp_path / "certs"))
    made.load()
    return made


def problem(leaf: Leaf) -> str:
    with pytest.raises(IdentityError) as raised:
        Credentials.parse(leaf.tls_crt, leaf.tls_key, leaf.ca_crt)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_good_certificate_tells_who_it_is_for(ca: CertificateAuthority) -> None:
    leaf = ca.issue("ping")
    credentials = Credentials.parse(leaf.tls_crt, leaf.tls_key, leaf.ca_crt)
    assert credentials.workload == Workload("cluster.local", "meshmart", "ping")
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


def test_before_the_load_there_is_no_identity(tmp_path: Path) -> None:
    with pytest.raises(IdentityError):
        _ = IdentityStore(IdentityConfig(tmp_path)).current


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match=r"tls\.crt: No such file"):
        IdentityStore(IdentityConfig(tmp_path)).load()


def test_a_certificate_of_another_trust_domain_is_refused(tmp_path: Path) -> None:
    write_atomically(tmp_path, CertificateAuthority("elsewhere").issue("ping").files())
    with pytest.raises(IdentityError, match="not of the trust domain"):
        IdentityStore(IdentityConfig(tmp_path)).load()


def test_the_bundle_may_lie_elsewhere(ca: CertificateAuthority, tmp_path: Path) -> None:
    leaf, bundle = ca.issue("ping"), tmp_path / "bundle.pem"
    write_atomically(tmp_path / "certs", {"tls.crt": leaf.tls_crt, "tls.key": leaf.tls_key})
    bundle.write_bytes(ca.pem)
    store = IdentityStore(IdentityConfig(tmp_path / "certs", bundle=bundle))
    store.load()
    assert store.current.ca == ca.pem
    bundle.write_bytes(ca.pem + CertificateAuthority(generation=2).pem)
    assert store.poll()


def test_a_renewed_certificate_is_taken_and_told(
    ca: CertificateAuthority, store: IdentityStore, tmp_path: Path
) -> None:
    told: list[Credentials] = []
    unsubscribe = store.subscribe(told.append)
    leaf = ca.issue("ping")
    write_atomically(tmp_path / "certs", leaf.files())
    assert store.poll()
    assert not store.poll()
    assert [c.serial for c in told] == [leaf.certificate.serial_number] == [store.current.serial]
    unsubscribe()
    unsubscribe()
    write_atomically(tmp_path / "certs", ca.issue("ping").files())
    assert store.poll()
    assert len(told) == 1


def test_a_mismatching_pair_is_tried_again_and_counted_once(
    ca: CertificateAuthority, store: IdentityStore, tmp_path: Path
) -> None:
    before, leaf = store.current, ca.issue("ping")
    (tmp_path / "certs" / "..data" / "tls.crt").write_bytes(leaf.tls_crt)
    assert not any(store.poll() for _ in range(5))
    assert store.current is before
    (tmp_path / "certs" / "..data" / "tls.key").write_bytes(leaf.tls_key)
    assert store.poll()
    counted = samples(store)
    assert counted["mesh_certificate_reloads_total{result=error}"] == 1
    assert counted["mesh_certificate_reloads_total{result=success}"] == 1
    assert counted["mesh_certificate_expiry_timestamp_seconds"] == store.current.not_after


def test_a_directory_that_disappears_leaves_the_last_good_identity(
    store: IdentityStore, tmp_path: Path
) -> None:
    before = store.current
    (tmp_path / "certs").rename(tmp_path / "gone")
    assert not store.poll()
    assert store.current is before
