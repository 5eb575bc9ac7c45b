import asyncio
import time
from pathlib import Path

import pytest

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.config import IdentityConfig, MeshConfig
from grpcmesh.identity import Cause, Credentials, Expected, IdentityError, IdentityStore, Material, files
from tests.identity_cases import CASES, ROOT, Case, over
from tests.pki import DAY, Authority
from tests.unit.fakes import samples


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture
def store(ca: CertificateAuthority, tmp_path: Path) -> IdentityStore:
    write_atomically(tmp_path / "certs", ca.issue("ping").files())
    made = IdentityStore(IdentityConfig(tmp_path / "certs"))
    made.load()
    return made


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


class Directory:
    """A store over files that a test replaces, in virtual time."""

    def __init__(self, path: Path, expected: Expected | None = None) -> None:
        self.path, self.now = path, time.time()
        self.write(over(ROOT.issue()))
        self.store = IdentityStore(IdentityConfig(path), expected, lambda: self.now)

    def write(self, files: Material) -> None:
        names = {"tls.crt": files.cert_chain, "tls.key": files.private_key, "ca.crt": files.ca}
        write_atomically(self.path, names)

    def problems(self) -> dict[str, float]:
        """Return the non-zero samples of `mesh_identity_problem`, by `identity/cause`."""
        families = [f for f in self.store.collect() if f.name == "mesh_identity_problem"]
        return {"/".join(s.labels.values()): s.value for f in families for s in f.samples if s.value}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    made = Directory(tmp_path)
    made.store.load()
    return made


REFUSED = [case for case in CASES if case.cause]


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_renewed_identity_that_no_handshake_would_accept_is_not_taken(
    directory: Directory, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    store, told = directory.store, []
    before = store.current
    store.subscribe(told.append)
    directory.write(case.files)
    assert not any(store.poll() for _ in range(3))
    assert store.current is before
    assert not told
    assert str(store.problems[0]) in caplog.text
    assert len(caplog.records) == 1
    assert directory.problems()[f"renewed/{case.cause}"] == 1
    assert str(store.problems[0]) in store.state()["problem"]
    assert samples(store)["mesh_certificate_reloads_total{result=error}"] == 1

    directory.write(over(ROOT.issue()))
    assert store.poll()
    assert len(told) == 1
    assert not directory.problems()
    assert store.state()["problem"] == ""


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_at_the_start_it_is_refused_with_its_cause(tmp_path: Path, case: Case) -> None:
    directory = Directory(tmp_path)
    directory.write(case.files)
    with pytest.raises(IdentityError) as raised:
        directory.store.load()
    assert raised.value.problems[0].cause is case.cause
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "bundle",
    [pytest.param([Authority("new")], id="old-ca-removed"), pytest.param([Authority("root")], id="renewed")],
)
def test_a_bundle_that_no_longer_holds_our_issuer_is_not_taken(
    directory: Directory, bundle: list[Authority], caplog: pytest.LogCaptureFixture
) -> None:
    before = directory.store.current
    own = Material(before.cert_chain, before.private_key, b"".join(ca.pem for ca in bundle))
    directory.write(own)
    assert not directory.store.poll()
    assert directory.store.current is before
    assert directory.store.problems[0].cause in (Cause.UNKNOWN_ISSUER, Cause.ISSUER_KEY_CHANGED)
    assert len(caplog.records) == 1


def test_a_load_may_be_repeated(directory: Directory) -> None:
    """On the same files it has no effect; a new identity is taken and told, as after a poll."""
    store, told = directory.store, []
    before = store.current
    store.subscribe(told.append)
    store.load()
    assert (store.current.serial, told) == (before.serial, [])
    directory.write(over(ROOT.issue()))
    store.load()
    assert store.current.serial != before.serial
    assert told == [store.current]
    assert not store.poll()


def test_a_repeated_load_of_bad_files_fails_and_leaves_the_last_good_identity(directory: Directory) -> None:
    store = directory.store
    before = store.current
    directory.write(over(Authority("foreign").issue()))
    for _ in range(2):
        with pytest.raises(IdentityError):
            store.load()
    assert store.current is before
    assert not store.poll()
    assert store.problems
    directory.write(over(ROOT.issue()))
    store.load()
    assert not store.problems


def test_what_is_put_back_is_no_reload(directory: Directory, caplog: pytest.LogCaptureFixture) -> None:
    before = directory.store.current
    directory.write(over(Authority("foreign").issue()))
    directory.store.poll()
    directory.write(Material(before.cert_chain, before.private_key, before.ca))
    assert not directory.store.poll()
    assert directory.store.current is before
    assert not directory.store.problems


def test_a_certificate_that_is_early_is_taken_when_its_time_has_come(directory: Directory) -> None:
    store = directory.store
    directory.write(over(ROOT.issue(begins=DAY / 2, ends=2 * DAY)))
    assert not store.poll()
    directory.now += DAY.total_seconds() / 2 + 1
    assert store.poll()
    assert not store.problems


def test_the_end_of_the_certificate_is_logged_once_and_shown(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    store = directory.store
    directory.now = store.current.not_after - 1
    store.poll()
    assert not directory.problems()
    directory.now = store.current.not_after
    for _ in range(3):
        store.poll()
    assert len(caplog.records) == 1
    assert caplog.records[0].levelname == "ERROR"
    assert "expired at" in caplog.text
    assert directory.problems() == {"current/expired": 1}
    assert "expired at" in store.state()["problem"]

    directory.write(over(ROOT.issue(ends=3 * DAY)))
    assert store.poll()
    assert not directory.problems()


def test_the_end_of_the_ca_is_the_end_of_the_certificate(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    root = Authority("short", ends=DAY / 2)
    directory.write(over(root.issue(ends=2 * DAY), root))
    store = directory.store
    assert store.poll()
    shown = samples(store)
    assert shown["mesh_issuer_expiry_timestamp_seconds"] == root.certificate.not_valid_after_utc.timestamp()
    assert shown["mesh_issuer_not_before_timestamp_seconds"] < shown["mesh_issuer_expiry_timestamp_seconds"]
    directory.now = store.current.issuer_not_after
    store.poll()
    assert directory.problems() == {"current/issuer_expired": 1}


def test_a_subscriber_that_fails_keeps_no_other_from_the_new_certificate(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(credentials: Credentials) -> None:
        raise RuntimeError("broken")

    told: list[Credentials] = []
    directory.store.subscribe(fail)
    directory.store.subscribe(told.append)
    directory.write(over(ROOT.issue()))
    assert directory.store.poll()
    assert len(told) == 1
    assert "broken" in caplog.text


def test_a_member_of_the_mesh_takes_only_its_own_certificate(tmp_path: Path) -> None:
    config = MeshConfig("order", identity=IdentityConfig(tmp_path))
    directory = Directory(tmp_path)
    for serves in (True, False):
        with pytest.raises(
            IdentityError, match=r"is of spiffe://.*/sa/ping, and this process is .*/sa/order"
        ):
            IdentityStore.of(config, serves=serves).load()
    directory.write(over(ROOT.issue("order", dns=["other"])))
    IdentityStore.of(config, serves=False).load()
    with pytest.raises(IdentityError, match=r"has no DNS name order\.default\.svc"):
        IdentityStore.of(config, serves=True).load()


async def test_watching_follows_the_directory(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    store = IdentityStore(IdentityConfig(tmp_path, poll_interval=0.01))
    store.load()
    taken: asyncio.Future[Credentials] = asyncio.get_running_loop().create_future()
    store.subscribe(taken.set_result)
    watching = asyncio.create_task(store.watch())
    directory.write(over(ROOT.issue()))
    assert (await asyncio.wait_for(taken, 30)) is store.current
    watching.cancel()
    await asyncio.wait([watching])


def test_files_that_change_while_they_are_read_are_read_again(tmp_path: Path) -> None:
    """If the kubelet swaps the directory between two reads, no mismatch is reported."""
    directory = Directory(tmp_path)
    first, second = over(ROOT.issue()), over(ROOT.issue())
    torn = Material(first.cert_chain, second.private_key, second.ca)
    reads = iter([torn, second, second])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_read", lambda config: next(reads))
        directory.store.load()
    assert directory.store.current.cert_chain == second.cert_chain
