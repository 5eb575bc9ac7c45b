"""A certificate with its key and trust bundle, which are checked before anything uses them."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import grpc
from cryptography import x509

from grpcmesh.call import Workload
from grpcmesh.identity.bundles import Bundle, Bundles
from grpcmesh.identity.diagnosis import Diagnosis, diagnose
from grpcmesh.identity.fields import name_of, to_pem, utc_of
from grpcmesh.identity.leaf import Expected, workload_of
from grpcmesh.identity.material import Material
from grpcmesh.identity.problems import Cause, IdentityError, Problem

__all__ = ["Credentials", "IdentityError"]


@dataclass(frozen=True, repr=False)
class Credentials:
    """The certificate, key and trust bundle of a process, PEM-encoded.

    `parse` has checked that handshakes with them succeed.
    """

    cert_chain: bytes
    private_key: bytes
    #: The bundle, ordered so that gRPC finds a valid CA first.
    ca: bytes
    serial: int
    #: Unix seconds at which the validity of the certificate begins and ends.
    not_before: float
    not_after: float
    workload: Workload
    #: The validity of the CA that expires first on the path to the bundle. Infinite if there is no CA.
    issuer_not_before: float = float("-inf")
    issuer_not_after: float = float("inf")
    issuer: str = ""
    #: The name of the CA that signed the leaf.
    issued_by: str = ""
    bundle: tuple[x509.Certificate, ...] = field(default=(), compare=False)
    #: Intermediates that follow the leaf in `cert_chain`.
    intermediates: tuple[x509.Certificate, ...] = field(default=(), compare=False)
    #: The bundles of other trust domains that can be used.
    federated: Mapping[str, Bundle] = field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        return f"Credentials({self.workload}, serial={self.serial:x}, not_after={self.not_after:.0f})"

    @classmethod
    def parse(
        cls,
        cert_chain: bytes,
        private_key: bytes,
        ca: bytes,
        now: float | None = None,
        expected: Expected = Expected(),  # noqa: B008 - immutable
    ) -> "Credentials":
        """Parse an identity, after checking that a handshake with it would succeed now.

        Args:
            cert_chain: The leaf, followed by intermediates.
            private_key: The key of the leaf.
            ca: The trust bundle: one or more certificates.
            now: Unix seconds; None means the current time.
            expected: The requirements that the certificate has to meet.

        Raises:
            IdentityError: A handshake would fail. The message names the first problem.
        """
        files = Material(cert_chain, private_key, ca)
        diagnosis = diagnose(files, expected, time.time() if now is None else now)
        return cls.of(files, diagnosis)

    @classmethod
    def of(cls, files: Material, diagnosis: Diagnosis) -> "Credentials":
        """Return the credentials of a diagnosed identity. Raises IdentityError if it has problems."""
        parsed, path = diagnosis.parsed, diagnosis.path
        if diagnosis.problems or parsed is None or path is None:
            raise IdentityError(_told(diagnosis), diagnosis.problems)
        leaf, workload = parsed.leaf, workload_of(parsed.leaf)
        assert workload is not None  # or there had been a problem
        first = min(path.issuers, key=lambda ca: ca.not_valid_after_utc, default=None)
        return cls(
            to_pem((leaf, *parsed.chain)),
            files.private_key,
            to_pem(parsed.bundle),
            leaf.serial_number,
            leaf.not_valid_before_utc.timestamp(),
            leaf.not_valid_after_utc.timestamp(),
            workload,
            *_life(first),
            issued_by=leaf.issuer.rfc4514_string(),
            bundle=parsed.bundle,
            intermediates=parsed.chain,
            federated=diagnosis.federated,
        )

    @property
    def bundles(self) -> Bundles:
        """Return the bundles of all trust domains."""
        return Bundles(self.workload.trust_domain, self.bundle, self.federated)

    def bundle_for(self, domain: str) -> Bundle:
        """Return the CAs that may issue identities of servers of a trust domain.

        A domain without a bundle of its own is verified by ours, whose owner may have put its CA there.
        """
        return self.federated.get(domain, self.bundle)

    def ended(self, now: float) -> Problem | None:
        """Return why no peer accepts the certificate any more at `now` (unix seconds), or None."""
        if now >= self.not_after:
            text = f"expired at {utc_of(self.not_after)} and has not been renewed"
            return Problem(Cause.EXPIRED, "tls.crt", text)
        if now >= self.issuer_not_after:
            text = f"the CA {self.issuer!r} expired at {utc_of(self.issuer_not_after)}"
            return Problem(Cause.ISSUER_EXPIRED, "ca.crt", text)
        return None

    def channel_credentials(self, domain: str = "") -> grpc.ChannelCredentials:
        """Return credentials for a client, which present this identity and trust only one bundle.

        Args:
            domain: The trust domain of the servers. Empty: ours.
        """
        ca = to_pem(self.federated[domain]) if domain in self.federated else self.ca
        return grpc.ssl_channel_credentials(ca, self.private_key, self.cert_chain)

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        """Return the certificate configuration for a server. It applies to handshakes from now on.

        Its handshakes accept certificates of every bundle. `identity.peer` then verifies each with the bundle
        of its own trust domain.
        """
        pair = [(self.private_key, self.cert_chain)]
        return grpc.ssl_server_certificate_configuration(pair, self.bundles.pem())


def _life(ca: x509.Certificate | None) -> tuple[float, float, str]:
    if ca is None:
        return float("-inf"), float("inf"), ""
    return ca.not_valid_before_utc.timestamp(), ca.not_valid_after_utc.timestamp(), name_of(ca)


def _told(diagnosis: Diagnosis) -> str:
    """Return the first problem, and the number of further ones, in one line."""
    first, *more = map(str, diagnosis.problems)
    return f"{first} (and {len(more)} more problems)" if more else first
