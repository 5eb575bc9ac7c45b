"""Certificates on a real disk, in virtual time."""

import stat
from pathlib import Path

import pytest
from cryptography import x509

from local.certs import Certificates
from local.errors import ClusterError
from local.state import StateDir

DAY = 86400.0


class Now:
    def __init__(self) -> None:
        import time

        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    s = StateDir(tmp_path / "state")
    s.prepare()
    return s


def serial(state: StateDir, workload: str) -> int:
    return x509.load_pem_x509_certificate((state.certs / workload / "tls.crt").read_bytes()).serial_number


def test_the_first_start_writes_a_directory_for_each_workload_operator_and_outsider(state: StateDir) -> None:
    assert Certificates(state, ["product", "order"], DAY).prepare() == 4
    for workload in ("product", "order", "client", "outsider"):
        files = {p.name for p in (state.certs / workload).iterdir() if not p.name.startswith("..")}
        assert files == {"tls.crt", "tls.key", "ca.crt"}


def test_private_keys_are_for_their_owner_only(state: StateDir) -> None:
    Certificates(state, ["product"], DAY).prepare()
    for key in (state.ca / "ca.key", state.certs / "product" / "tls.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.resolve().parent.stat().st_mode) == 0o700


def test_a_second_start_keeps_what_is_good(state: StateDir) -> None:
    Certificates(state, ["product"], DAY).prepare()
    before = serial(state, "product"), (state.ca / "ca.crt").read_bytes()
    assert Certificates(state, ["product"], DAY).prepare() == 0
    assert (serial(state, "product"), (state.ca / "ca.crt").read_bytes()) == before


def test_a_workload_that_came_later_gets_its_own(state: StateDir) -> None:
    Certificates(state, ["product"], DAY).prepare()
    assert Certificates(state, ["product", "chat"], DAY).prepare() == 1


def test_the_certificate_is_renewed_when_its_time_has_come_and_not_before(state: StateDir) -> None:
    now = Now()
    certificates = Certificates(state, ["product"], DAY, now)
    certificates.prepare()
    before = serial(state, "product")
    assert certificates.next_due() == pytest.approx(DAY, abs=1)
    now.now += DAY - 10
    assert certificates.renew_due() == []
    now.now += 20
    assert {i.workload for i in certificates.renew_due()} == {"product", "client", "outsider"}
    assert serial(state, "product") != before


def test_a_certificate_outlives_its_renewal_by_half_its_use(state: StateDir) -> None:
    Certificates(state, ["product"], DAY).prepare()
    certificate = x509.load_pem_x509_certificate((state.certs / "product" / "tls.crt").read_bytes())
    left = certificate.not_valid_after_utc.timestamp() - Now().now
    assert left == pytest.approx(1.5 * DAY, abs=60)


def test_a_shorter_rotation_applies_to_certificates_that_are_there(state: StateDir) -> None:
    now = Now()
    Certificates(state, ["product"], DAY, now).prepare()
    now.now += 120
    assert Certificates(state, ["product"], 60, now).prepare() == 3


def test_rotating_renews_all_under_the_same_authority(state: StateDir) -> None:
    certificates = Certificates(state, ["product"], DAY)
    certificates.prepare()
    before = serial(state, "product")
    issued = {i.workload: i.serial for i in certificates.rotate()}
    assert issued["product"] == serial(state, "product") != before


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_a_broken_file_is_written_anew(state: StateDir, name: str) -> None:
    Certificates(state, ["product"], DAY).prepare()
    (state.certs / "product" / name).write_bytes(b"half a fi")
    assert Certificates(state, ["product"], DAY).prepare() == 1


def test_a_key_of_another_certificate_is_replaced(state: StateDir) -> None:
    Certificates(state, ["product", "order"], DAY).prepare()
    key = (state.certs / "order" / "tls.key").read_bytes()
    (state.certs / "product" / "tls.key").write_bytes(key)
    assert Certificates(state, ["product", "order"], DAY).prepare() == 1


def test_certificates_of_a_former_authority_are_replaced(state: StateDir) -> None:
    Certificates(state, ["product"], DAY).prepare()
    for path in sorted(state.ca.iterdir()):
        if path.is_symlink():
            path.unlink()
    assert Certificates(state, ["product"], DAY).prepare() == 3


def test_an_authority_that_ends_soon_is_replaced_at_the_start_with_all_that_it_issued(
    state: StateDir,
) -> None:
    now = Now()
    Certificates(state, ["product"], DAY, now).prepare()
    before = (state.ca / "ca.crt").read_bytes()
    now.now += 3600 * DAY
    Certificates(state, ["product"], DAY, now).prepare()
    assert (state.ca / "ca.crt").read_bytes() == before
    now.now += 25 * DAY
    certificates = Certificates(state, ["product"], DAY, now)
    assert certificates.prepare() == 3
    after = (state.ca / "ca.crt").read_bytes()
    assert after != before
    assert (state.certs / "product" / "ca.crt").read_bytes() == after
    assert certificates.next_due() == pytest.approx(DAY, abs=1)


def test_a_broken_authority_is_named_and_left_alone(state: StateDir) -> None:
    Certificates(state, ["product"], DAY).prepare()
    (state.ca / "ca.key").write_bytes(b"broken")
    with pytest.raises(ClusterError, match=r"certificate authority in .*ca cannot be read"):
        Certificates(state, ["product"], DAY).prepare()
    assert (state.ca / "ca.key").read_bytes() == b"broken"


def test_what_an_interrupted_write_left_is_removed(state: StateDir) -> None:
    Certificates(state, ["product"], DAY).prepare()
    leftover = state.certs / "product" / "..2020_01_01_00_00_00.000000"
    leftover.mkdir()
    (leftover / "tls.crt").write_bytes(b"half")
    assert Certificates(state, ["product"], DAY).prepare() == 0
    assert not leftover.exists()


def test_the_time_before_the_end_at_which_it_renews_is_the_one_at_which_it_renews(state: StateDir) -> None:
    now = Now()
    certificates = Certificates(state, ["product"], DAY, now)
    assert certificates.renew_before("product") is None
    certificates.prepare()
    before = certificates.renew_before("product")
    assert before == pytest.approx(DAY / 2, abs=2)
    renewal = ends(state, "product") - before
    now.now = renewal - 1
    assert certificates.renew_due() == []
    now.now = renewal + 1
    assert "product" in [issued.workload for issued in certificates.renew_due()]


def ends(state: StateDir, workload: str) -> float:
    """When the certificate on the disk ends, in Unix seconds."""
    pem = (state.certs / workload / "tls.crt").read_bytes()
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
