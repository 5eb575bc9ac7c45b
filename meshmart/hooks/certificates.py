"""Issues missing and due certificates, with `tls.mode: generated`: `python -m meshmart.hooks.certificates`.

Helm's own genSignedCert cannot write the SPIFFE URI of the mesh's identities. The CA is in the Secret
`meshmart-ca`, a workload's certificate in `WORKLOAD-tls`, with the keys that cert-manager uses.
"""

import argparse
import datetime
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from grpcmesh.ca import CertificateAuthority
from meshmart.hooks.api import ApiError, Namespace

CA_SECRET = "meshmart-ca"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
Now = Callable[[], datetime.datetime]


def seconds(text: str) -> float:
    """Return the seconds of a Go duration such as `1h30m`. Raises ValueError."""
    if not re.fullmatch(r"([0-9.]+(ms|h|m|s))+", text):
        raise ValueError(f"{text!r} is not a duration such as 24h or 1h30m")
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9.]+)(ms|h|m|s)", text))


@dataclass(frozen=True)
class Wanted:
    """The desired certificates.

    Args:
        trust_domain, cluster_domain: The domains of identities and of DNS names.
        lifetime, renew_before: Of a workload's certificate, in seconds.
        ca_lifetime: The lifetime of the CA, in seconds.
        labels: The labels of every Secret.
    """

    trust_domain: str
    cluster_domain: str
    lifetime: float
    renew_before: float
    ca_lifetime: float
    labels: Mapping[str, str]


class Issuer:
    """Keeps the Secrets of a namespace in the desired state.

    Args:
        secrets: The Secrets of the namespace.
        wanted: The desired certificates.
        now: Returns the time, with a timezone.
    """

    def __init__(self, secrets: Namespace, wanted: Wanted, now: Now) -> None:
        self._secrets, self._wanted, self._now = secrets, wanted, now

    def issue(self, workloads: Sequence[str]) -> list[str]:
        """Issue certificates that are missing, due, or not of this CA. Return their workloads.

        Raises:
            ApiError: the cluster refuses a request.
            ValueError: the CA's Secret cannot be read.
        """
        ca = self._ca()
        due = [w for w in workloads if self._is_due(ca, self._secrets.read(f"{w}-tls"))]
        for workload in due:
            leaf = ca.issue(
                workload,
                lifetime=datetime.timedelta(seconds=self._wanted.lifetime),
                dns_names=self._dns_names(workload),
            )
            self._secrets.write(f"{workload}-tls", leaf.files(), self._wanted.labels)
        return due

    def _ca(self) -> CertificateAuthority:
        namespace, domain = self._secrets.namespace, self._wanted.trust_domain
        if kept := self._secrets.read(CA_SECRET):
            return CertificateAuthority.load(kept["tls.crt"], kept["tls.key"], domain, namespace)
        # The time makes each CA's subject unique, also after its Secret was deleted.
        lifetime = datetime.timedelta(seconds=self._wanted.ca_lifetime)
        ca = CertificateAuthority(domain, namespace, int(self._now().timestamp()), lifetime)
        files = {"tls.crt": ca.pem, "tls.key": ca.key_pem, "ca.crt": ca.pem}
        self._secrets.write(CA_SECRET, files, self._wanted.labels)
        return ca

    def _is_due(self, ca: CertificateAuthority, kept: Mapping[str, bytes] | None) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate((kept or {})["tls.crt"])
            certificate.verify_directly_issued_by(ca.certificate)
        except (KeyError, ValueError, InvalidSignature):
            return True
        left = certificate.not_valid_after_utc - self._now()
        return left.total_seconds() <= self._wanted.renew_before

    def _dns_names(self, workload: str) -> list[str]:
        short = f"{workload}.{self._secrets.namespace}.svc"
        return [f"{short}.{self._wanted.cluster_domain}", short]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _parsed(arguments: list[str]) -> tuple[Wanted, list[str]]:
    parser = argparse.ArgumentParser(prog="certificates", description="Issues what is missing or due.")
    parser.add_argument("workloads", nargs="+")
    parser.add_argument("--trust-domain", required=True)
    parser.add_argument("--cluster-domain", required=True)
    for name in ("--lifetime", "--renew-before", "--ca-lifetime"):
        parser.add_argument(name, type=seconds, required=True)
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    labels = dict(label.split("=", 1) for label in given.label)
    wanted = Wanted(
        given.trust_domain,
        given.cluster_domain,
        given.lifetime,
        given.renew_before,
        given.ca_lifetime,
        labels,
    )
    return wanted, given.workloads


def main(arguments: list[str]) -> int:
    """Return the exit status: 0, or 1 if the cluster refuses a request."""
    wanted, workloads = _parsed(arguments)
    try:
        issued = Issuer(Namespace.of_this_pod(), wanted, _now).issue(workloads)
    except (ApiError, ValueError) as e:
        sys.stderr.write(f"certificates: {e}\n")
        return 1
    sys.stdout.write(f"issued: {', '.join(issued) or 'nothing is due'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
