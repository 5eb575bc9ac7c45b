"""The certificate authority, and each workload's certificate directory: the work of cert-manager and the
kubelet.
"""

import datetime
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from local.catalog import CLUSTER_DOMAIN, NAMESPACE, OPERATOR, OUTSIDER
from local.errors import ClusterError
from local.state import StateDir

#: A kept CA with less is replaced at the start.
_LEAST_LEFT = datetime.timedelta(days=30)
_STAMP = re.compile(r"\.\.\d{4}_")


@dataclass(frozen=True)
class Issued:
    """A certificate in a workload's directory. Times are in Unix seconds."""

    workload: str
    serial: int
    not_before: float
    not_after: float

    def renew_at(self) -> float:
        """Return when two thirds of its lifetime have passed (Unix seconds), which is cert-manager's
        default.
        """
        return self.not_before + (self.not_after - self.not_before) * 2 / 3


class Certificates:
    """Keeps a valid certificate in `STATE_DIR/certs/<workload>` for each workload.

    Args:
        state: The state directory.
        workloads: The workloads, in addition to the operator and the outsider.
        rotate_every: Seconds after which a certificate is replaced; its lifetime is half as long again.
        now: Returns the time in Unix seconds.
    """

    def __init__(
        self,
        state: StateDir,
        workloads: Iterable[str],
        rotate_every: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._state, self._now = state, now
        self._workloads = [*workloads, OPERATOR, OUTSIDER]
        self._rotate_every = rotate_every
        self._ca: CertificateAuthority | None = None
        self._issued: dict[str, Issued] = {}

    def prepare(self) -> int:
        """Load or create the CA, and renew certificates that are missing, broken or due.

        Returns:
            The number of certificates written.

        Raises:
            ClusterError: the CA cannot be read.
            OSError: a file cannot be written.
        """
        ca = self._load_ca()
        # Nothing runs yet, so everything can be issued anew at once.
        self._ca = ca if ca and ca.left() > _LEAST_LEFT else self._make_ca()
        for workload in self._workloads:
            _remove_leftovers(self._state.certs / workload)
            kept = self._read(workload)
            if kept:
                self._issued[workload] = kept
        return len(self.renew_due())

    def renew_due(self) -> list[Issued]:
        """Renew every certificate that is due."""
        now = self._now()
        due = [w for w in self._workloads if w not in self._issued or self._renew_at(w) <= now]
        return [self._issue(w) for w in due]

    def rotate(self) -> list[Issued]:
        """Renew all certificates, due or not."""
        return [self._issue(w) for w in self._workloads]

    def next_due(self) -> float:
        """Return the seconds until the next certificate is due; never negative."""
        return max(0.0, min(map(self._renew_at, self._workloads)) - self._now())

    def renew_before(self, workload: str) -> float | None:
        """Return how long before its end a certificate is renewed, in seconds; None if there is none yet."""
        issued = self._issued.get(workload)
        return None if issued is None else issued.not_after - self._renew_at(workload)

    def _renew_at(self, workload: str) -> float:
        issued = self._issued[workload]
        return min(issued.renew_at(), issued.not_before + self._rotate_every)

    def _issue(self, workload: str) -> Issued:
        assert self._ca is not None
        lifetime = datetime.timedelta(seconds=self._rotate_every * 1.5)
        leaf = self._ca.issue(workload, lifetime=lifetime)
        write_atomically(self._state.certs / workload, leaf.files())
        ends = leaf.certificate.not_valid_after_utc.timestamp()  # not beyond the CA's own end
        self._issued[workload] = Issued(workload, leaf.certificate.serial_number, self._now(), ends)
        return self._issued[workload]

    def _load_ca(self) -> CertificateAuthority | None:
        certificate, key = self._state.ca / "ca.crt", self._state.ca / "ca.key"
        if not certificate.exists() and not key.exists():
            return None
        try:
            return CertificateAuthority.load(
                certificate.read_bytes(), key.read_bytes(), CLUSTER_DOMAIN, NAMESPACE, clock=self._clock
            )
        except (ValueError, TypeError, OSError) as e:
            raise ClusterError(
                f"the certificate authority in {self._state.ca} cannot be read ({e}); "
                "remove that directory to start with a new one"
            ) from e

    def _make_ca(self) -> CertificateAuthority:
        # The generation makes each CA's subject unique, also after its directory was removed.
        generation = int(self._now())
        ca = CertificateAuthority(CLUSTER_DOMAIN, NAMESPACE, generation, clock=self._clock)
        write_atomically(self._state.ca, {"ca.crt": ca.pem, "ca.key": ca.key_pem})
        return ca

    def _clock(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._now(), datetime.UTC)

    def _read(self, workload: str) -> Issued | None:
        """Return the certificate in a workload's directory, if it is complete and issued by our CA."""
        assert self._ca is not None
        directory = self._state.certs / workload
        try:
            leaf = Leaf(*((directory / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")))
            certificate = leaf.certificate
            certificate.verify_directly_issued_by(self._ca.certificate)
            key = serialization.load_pem_private_key(leaf.tls_key, password=None)
        except (OSError, ValueError, TypeError, InvalidSignature):
            return None
        if key.public_key() != certificate.public_key() or leaf.ca_crt != self._ca.pem:
            return None
        return _issued(workload, certificate)


def _issued(workload: str, certificate: x509.Certificate) -> Issued:
    return Issued(
        workload,
        certificate.serial_number,
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def _remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted write left: timestamped directories that `..data` does not name."""
    current = directory / "..data"
    target = current.readlink().name if current.is_symlink() else ""
    for path in directory.glob("..*") if directory.is_dir() else ():
        if _STAMP.match(path.name) and path.name != target:
            shutil.rmtree(path)
