"""A certificate authority in memory, for tests and for the embedded cluster, which writes the certificates.

It does what cert-manager does for the chart: one CA per mesh, and short-lived leaves that carry the service's
DNS names and exactly one SPIFFE URI. Subject and authority key identifiers are set, and each generation of
the CA has its own subject, because a CA that is renewed under the same name without them breaks verification
(RFC 5280, 4.2.1.1).
"""

import datetime
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SKEW = datetime.timedelta(minutes=5)
#: The most characters of a common name (X.520, ub-common-name).
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Leaf:
    """The files of a service's directory, PEM-encoded."""

    tls_crt: bytes
    tls_key: bytes
    ca_crt: bytes

    def files(self) -> dict[str, bytes]:
        """Return the files by the names that Kubernetes gives them."""
        return {"tls.crt": self.tls_crt, "tls.key": self.tls_key, "ca.crt": self.ca_crt}

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.tls_crt)


def write_atomically(directory: Path, files: dict[str, bytes]) -> None:
    """Write files to a directory as the kubelet does: all at once, by swapping the `..data` symlink.

    Args:
        directory: The directory, such as `STATE_DIR/certs/product`. It is created if absent. Its files are
            symlinks through `..data`.
        files: Contents by file name.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = f"..{datetime.datetime.now(datetime.UTC):%Y_%m_%d_%H_%M_%S.%f}"
    (directory / stamp).mkdir(mode=0o700)
    for name, content in files.items():
        path = directory / stamp / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    old = os.readlink(directory / "..data") if (directory / "..data").is_symlink() else None
    (directory / "..data_tmp").unlink(missing_ok=True)
    (directory / "..data_tmp").symlink_to(stamp)
    (directory / "..data_tmp").rename(directory / "..data")
    for name in files:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(Path("..data") / name)
    if old:
        _remove(directory / old)


def _remove(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


class CertificateAuthority:
    """Issues leaf certificates.

    Args:
        trust_domain: Trust domain of the SPIFFE URIs.
        namespace: Namespace of the SPIFFE URIs and DNS names.
        generation: Number of the CA's generation, a part of its subject.
        lifetime: Validity of the CA's own certificate.
    """

    def __init__(
        self,
        trust_domain: str = "cluster.local",
        namespace: str = "meshmart",
        generation: int = 1,
        lifetime: datetime.timedelta = datetime.timedelta(days=3650),
    ) -> None:
        self.trust_domain, self.namespace, self.generation = trust_domain, namespace, generation
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._self_signed(lifetime)

    @classmethod
    def load(
        cls, certificate: bytes, key: bytes, trust_domain: str, namespace: str
    ) -> "CertificateAuthority":
        """Return the CA with this certificate and key, in PEM (see `pem` and `key_pem`).

        Raises:
            ValueError: The certificate or the key is malformed, or the key is no elliptic curve key.
        """
        ca = cls.__new__(cls)
        ca.trust_domain, ca.namespace, ca.generation = trust_domain, namespace, 0
        loaded = serialization.load_pem_private_key(key, password=None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError("the CA key is not an elliptic curve key")
        ca._key = loaded
        ca.certificate = x509.load_pem_x509_certificate(certificate)
        return ca

    @property
    def pem(self) -> bytes:
        """Return the CA's certificate in PEM, which is the trust bundle."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Return the CA's private key in PEM."""
        return _key_pem(self._key)

    def spiffe_id(self, service: str) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{service}"

    def issue(
        self,
        service: str,
        *,
        lifetime: datetime.timedelta = datetime.timedelta(days=1),
        dns_names: Sequence[str] | None = None,
        uris: Sequence[str] | None = None,
        not_before: datetime.datetime | None = None,
    ) -> Leaf:
        """Return a new key and certificate for a service.

        Args:
            service: Name of the workload, from which its DNS names and its SPIFFE URI follow.
            lifetime: Validity from now.
            dns_names: DNS names in place of the service's own (gRPC refuses a server without one).
            uris: URIs in place of its SPIFFE URI.
            not_before: Beginning of the validity, in place of five minutes ago.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        start = not_before or datetime.datetime.now(datetime.UTC) - _SKEW
        names = dns_names if dns_names is not None else self._dns_names(service)
        alternative = [
            *(x509.DNSName(n) for n in names),
            *(
                x509.UniformResourceIdentifier(u)
                for u in (uris if uris is not None else [self.spiffe_id(service)])
            ),
        ]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(datetime.datetime.now(datetime.UTC) + lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=True), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if alternative:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Leaf(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key), self.pem)

    def _dns_names(self, service: str) -> list[str]:
        full = f"{service}.{self.namespace}.svc.cluster.local"
        return [full, f"{service}.{self.namespace}.svc", f"{service}.{self.namespace}", service]

    def _self_signed(self, lifetime: datetime.timedelta) -> x509.Certificate:
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Meshmart"),
                x509.NameAttribute(NameOID.COMMON_NAME, _ca_name(self.namespace, self.generation)),
            ]
        )
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, hashes.SHA256())
        )


def _ca_name(namespace: str, generation: int) -> str:
    """Return the common name of a CA, which is unique for namespace and generation, and not too long."""
    suffix = f" mesh CA generation {generation}"
    room = _LONGEST_NAME - len(suffix)
    if len(namespace) > room:
        digest = hashlib.sha256(namespace.encode()).hexdigest()[:8]
        namespace = f"{namespace[: room - 9]}-{digest}"
    return f"{namespace}{suffix}"


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(
    digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
