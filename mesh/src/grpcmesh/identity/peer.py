"""The certificate that a connected peer has shown: its workload, and until when it is accepted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509

from grpcmesh.call import Workload
from grpcmesh.identity import leaf, material, path, trust
from grpcmesh.identity.bundles import Bundle, Bundles
from grpcmesh.identity.fields import name_of, utc_of
from grpcmesh.identity.old_tls import VERSION_IS_TOLD
from grpcmesh.identity.path import Path
from grpcmesh.identity.problems import Problem

#: grpc's properties of a connection: `ServicerContext.auth_context()`.
AuthContext = Mapping[str, Sequence[bytes]]
#: The name of the certificate in messages, which the peer sees, too.
_FILE = "the client certificate"


@dataclass(frozen=True)
class Refusal:
    """The reason why a peer is refused. `reason` is the label of `mesh_identity_refused_total`."""

    reason: str
    text: str


class RefusedError(Exception):
    """Raised for a connection that is refused."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class Peer:
    """A certificate that a peer has shown, on one or more connections.

    Args:
        certificate: The leaf.
        chain: The intermediates that came with it.
        workload: The workload of its SPIFFE id.
    """

    __slots__ = ("__weakref__", "bundles", "certificate", "chain", "ends", "refusal", "told", "workload")

    def __init__(self, certificate: x509.Certificate, chain: Bundle, workload: Workload) -> None:
        self.certificate, self.chain, self.workload = certificate, chain, workload
        #: The bundles that it was verified with. With others it has to be verified again.
        self.bundles: Bundles | None = None
        #: Unix seconds from which it is refused, and the reason.
        self.ends = 0.0
        self.refusal: Refusal | None = None
        self.told = False

    def verify(self, bundles: Bundles, now: float) -> None:
        """Set until when the certificate is accepted. Verifies one or two signatures.

        Args:
            bundles: The trust bundles. Only that of the workload's own trust domain counts.
            now: Unix seconds.
        """
        bundle = bundles.of(self.workload.trust_domain)
        way = path.find(self.certificate, self.chain, bundle)
        problems = trust.check(way, bundle, now, _FILE)
        if problems:
            self.ends, self.refusal = 0.0, Refusal("untrusted", str(problems[0]))
        else:
            self.ends, self.refusal = _end_of(way)
        self.bundles = bundles  # last: whoever sees it sees the rest

    def __repr__(self) -> str:
        return f"<Peer {self.workload} serial={self.certificate.serial_number:x} ends={self.ends:.0f}>"


def _end_of(way: Path) -> tuple[float, Refusal]:
    """Return when a path that is valid now expires (unix seconds), and the refusal from then on."""
    first = min(way.certificates, key=lambda certificate: certificate.not_valid_after_utc)
    what = _FILE if first is way.certificates[0] else f"the CA {name_of(first)!r} above {_FILE}"
    ends = first.not_valid_after_utc.timestamp()
    return ends, Refusal("expired", f"{what} expired at {utc_of(ends)}")


def shown(auth: AuthContext) -> tuple[bytes, ...]:
    """Return the PEM certificates that the peer of a connection has shown: the leaf and its chain."""
    return (*auth.get("x509_pem_cert", ()), *auth.get("x509_pem_cert_chain", ()))


def read(auth: AuthContext, bundles: Bundles) -> Peer:
    """Read the certificate of a connection's peer, without verifying it.

    Raises:
        RefusedError: The certificate is malformed, may sign others, or is not for a workload of a trust
            domain that has a bundle.
    """
    workload = _workload(auth, bundles)
    found = material.certificates(_FILE, b"\n".join(shown(auth)))
    if isinstance(found, Problem):
        raise _refused("malformed", f"{_FILE} cannot be read")
    if leaf.may_sign(found[0]):
        raise _refused("ca_certificate", f"{_FILE} may sign certificates")
    return Peer(found[0], tuple(found[1:]), workload)


def require_tls13(auth: AuthContext) -> None:
    """Check that a connection uses TLS 1.3. Raises RefusedError if it does not.

    Before grpcio 1.85 the version is unknown, and the handshake has refused older ones (`identity.old_tls`).
    """
    version = _text(next(iter(auth.get("ssl_tls_version", ())), b""))
    by_handshake = not VERSION_IS_TOLD and not version and b"ssl" in auth.get("transport_security_type", ())
    if version != "TLSv1.3" and not by_handshake:
        raise _refused("tls_version", f"TLS 1.3 is required, the connection has {version or 'none'}")


def _workload(auth: AuthContext, bundles: Bundles) -> Workload:
    uris = tuple(auth.get("peer_uri") or auth.get("peer_spiffe_id") or ())
    workload = Workload.of_id(_text(uris[0])) if len(uris) == 1 else None
    if workload is None:
        raise _refused("no_spiffe_id", f"{_FILE} needs exactly one SPIFFE URI")
    if not bundles.trusts(workload.trust_domain):
        raise _refused("foreign_trust_domain", f"{workload} is of another trust domain")
    return workload


def _refused(reason: str, text: str) -> RefusedError:
    return RefusedError(Refusal(reason, text))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
