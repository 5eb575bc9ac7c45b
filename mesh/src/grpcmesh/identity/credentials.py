"""One certificate with its key and trust bundle, checked before anything uses it."""

import time
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from grpcmesh.call import Workload

_PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class IdentityError(Exception):
    """The certificate directory does not hold a usable identity; the message is one line."""


@dataclass(frozen=True, repr=False)
class Credentials:
    """What a process proves itself with, PEM-encoded. Consistent: `parse` has checked it."""

    cert_chain: bytes
    private_key: bytes
    ca: bytes
    serial: int
    #: Unix seconds at which the certificate begins, and ends.
    not_before: float
    not_after: float
    workload: Workload

    def __repr__(self) -> str:
        return f"Credentials({self.workload}, serial={self.serial:x}, not_after={self.not_after:.0f})"

    @classmethod
    def parse(
        cls, cert_chain: bytes, private_key: bytes, ca: bytes, now: float | None = None
    ) -> "Credentials":
        """Checks that the three belong together and are of use now.

        Args:
            cert_chain: The leaf first.
            private_key: Of the leaf.
            ca: The trust bundle: one or more certificates.
            now: Unix seconds; by default the time.

        Raises:
            IdentityError: half-written, mismatched, expired, or without exactly one SPIFFE URI.
        """
        leaf = _certificates("tls.crt", cert_chain)[0]
        _certificates("ca.crt", ca)
        _check_key(leaf, private_key)
        not_after = leaf.not_valid_after_utc.timestamp()
        if not_after <= (time.time() if now is None else now):
            raise IdentityError(f"tls.crt: expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC")
        not_before = leaf.not_valid_before_utc.timestamp()
        return cls(cert_chain, private_key, ca, leaf.serial_number, not_before, not_after, _workload(leaf))

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a client: proves this identity, trusts only this bundle."""
        return grpc.ssl_channel_credentials(self.ca, self.private_key, self.cert_chain)

    def server_configuration(self) -> grpc.ServerCertificateConfiguration:
        """For a server: the same, for handshakes from now on."""
        return grpc.ssl_server_certificate_configuration([(self.private_key, self.cert_chain)], self.ca)


def _certificates(name: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as e:
        raise IdentityError(f"{name}: not a complete PEM certificate") from e


def _check_key(leaf: x509.Certificate, private_key: bytes) -> None:
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError) as e:
        raise IdentityError("tls.key: not a complete, unencrypted PEM private key") from e
    if key.public_key().public_bytes(*_PUBLIC) != leaf.public_key().public_bytes(*_PUBLIC):
        raise IdentityError("tls.key: does not belong to tls.crt")


def _workload(leaf: x509.Certificate) -> Workload:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    workloads = [w for w in map(Workload.parse, uris) if w]
    if len(uris) != 1 or not workloads:
        raise IdentityError(f"tls.crt: needs exactly one SPIFFE URI, has {', '.join(uris) or 'none'}")
    return workloads[0]
