"""A certificate authority in memory, for tests and for the embedded cluster, which writes the certificates.

It does what cert-manager does for the chart: one CA per mesh, and short-lived leaves that carry the service's
DNS names and exactly one SPIFFE URI. Subject and authority key identifiers are set, and each generation of
the CA has its own subject, because a CA that is renewed under the same name without them breaks verification
(RFC 5280, 4.2.1.1). A leaf is valid from five minutes before it is issued, for clocks that are behind, and
never outlives the CA. The CA keeps no record and revokes nothing: its leaves are short-lived instead.
"""

import datetime
import hashlib
from collections.abc import Callable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from grpcmesh.certificate_files import Leaf as Leaf
from grpcmesh.certificate_files import write_atomically as write_atomically
from grpcmesh.platform_settings import DEFAULT_NAMESPACE
from grpcmesh.spiffe import parse_workload

#: Characters of a common name (X.520, ub-common-name).
_LONGEST_NAME = 64
#: By how much a certificate begins before it is issued.
_SKEW = datetime.timedelta(minutes=5)
_ONE_SECOND = datetime.timedelta(seconds=1)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class CertificateAuthority:
    """Issues leaf certificates.

    Args:
        trust_domain: Trust domain of the SPIFFE URIs.
        namespace: Namespace of the SPIFFE URIs and DNS names.
        generation: Number of the CA's generation, a part of its subject. Each CA of a mesh needs its own.
        lifetime: Validity of the CA's own certificate.
        cluster_domain: Suffix of the DNS names.
        clock: Returns the time, with a time zone.
    """

    def __init__(
        self,
        trust_domain: str = "cluster.local",
        namespace: str = DEFAULT_NAMESPACE,
        generation: int = 1,
        lifetime: datetime.timedelta = datetime.timedelta(days=3650),
        *,
        cluster_domain: str = "cluster.local",
        clock: Callable[[], datetime.datetime] = _now,
    ) -> None:
        self.trust_domain, self.namespace, self.cluster_domain = trust_domain, namespace, cluster_domain
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._self_signed(generation, lifetime)

    @classmethod
    def load(
        cls,
        certificate: bytes,
        key: bytes,
        trust_domain: str,
        namespace: str,
        *,
        cluster_domain: str = "cluster.local",
        clock: Callable[[], datetime.datetime] = _now,
    ) -> "CertificateAuthority":
        """Return the CA with this certificate and key, in PEM (see `pem` and `key_pem`).

        Raises:
            ValueError: One of them is malformed, they do not belong together, the certificate is not that of
                a CA, or the key is no elliptic curve key.
            TypeError: The key is encrypted.
        """
        ca = cls.__new__(cls)
        ca.trust_domain, ca.namespace, ca.cluster_domain = trust_domain, namespace, cluster_domain
        ca._clock = clock
        ca._key = _loaded_key(key)
        ca.certificate = x509.load_pem_x509_certificate(certificate)
        _check_pair(ca.certificate, ca._key)
        return ca

    @property
    def pem(self) -> bytes:
        """Return the CA's certificate in PEM, which is the trust bundle."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Return the CA's private key in PEM."""
        return _key_pem(self._key)

    def left(self) -> datetime.timedelta:
        """Return how long the CA is still valid. Negative once it has expired."""
        return self.certificate.not_valid_after_utc - self._clock()

    def spiffe_id(self, service: str) -> str:
        """Return the SPIFFE id of a service."""
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
            lifetime: Validity from now. It ends with the CA's own at the latest.
            dns_names: DNS names in place of the service's own (gRPC refuses a server without one).
            uris: URIs in place of its SPIFFE URI.
            not_before: Beginning of the validity, in place of five minutes ago.

        Raises:
            ValueError: The name of the service cannot be part of a SPIFFE id, or the CA has expired.
        """
        if uris is None and parse_workload(self.spiffe_id(service)) is None:
            raise ValueError(f"{self.spiffe_id(service)!r} is not a SPIFFE id")
        key = ec.generate_private_key(ec.SECP256R1())
        begins, ends = self._window(lifetime, not_before)
        builder = _builder(_name(service), self.certificate.subject, key, begins, ends)
        names = self._dns_names(service) if dns_names is None else dns_names
        for extension, critical in _leaf_extensions(
            names, [self.spiffe_id(service)] if uris is None else uris
        ):
            builder = builder.add_extension(extension, critical)
        certificate = _identified(builder, key, self._key).sign(self._key, hashes.SHA256())
        return Leaf(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key), self.pem)

    def _window(
        self, lifetime: datetime.timedelta, not_before: datetime.datetime | None
    ) -> tuple[datetime.datetime, datetime.datetime]:
        now = self._clock()
        if self.left() < _ONE_SECOND:
            raise ValueError(
                f"the CA expired at {self.certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
            )
        begins = not_before or max(now - _SKEW, self.certificate.not_valid_before_utc)
        return begins, min(now + lifetime, self.certificate.not_valid_after_utc)

    def _dns_names(self, service: str) -> list[str]:
        full = f"{service}.{self.namespace}.svc.{self.cluster_domain}"
        return [full, f"{service}.{self.namespace}.svc", f"{service}.{self.namespace}", service]

    def _self_signed(self, generation: int, lifetime: datetime.timedelta) -> x509.Certificate:
        name = _name(_ca_name(self.namespace, generation), organization="grpcmesh")
        now = self._clock()
        builder = (
            _builder(name, name, self._key, now - _SKEW, now + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        )
        return _identified(builder, self._key, self._key).sign(self._key, hashes.SHA256())


def _leaf_extensions(dns_names: Sequence[str], uris: Sequence[str]) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions of a leaf, and whether each is critical (X509-SVID, 4 and 5.2)."""
    names = [*map(x509.DNSName, dns_names), *map(x509.UniformResourceIdentifier, uris)]
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage(both), False),
    ]
    return [*extensions, (x509.SubjectAlternativeName(names), False)] if names else extensions


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )


def _identified(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Add the identifiers of the certificate's own key and of the key that signs it."""
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    its = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return builder.add_extension(own, critical=False).add_extension(its, critical=False)


def _name(common: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organization:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _ca_name(namespace: str, generation: int) -> str:
    """Return the common name of a CA, unique for a namespace and generation, within X.520's bound."""
    suffix = f" mesh CA generation {generation}"
    room = _LONGEST_NAME - len(suffix)
    if len(namespace) > room:
        digest = hashlib.sha256(namespace.encode()).hexdigest()[:8]
        namespace = f"{namespace[: room - 9]}-{digest}"
    return f"{namespace}{suffix}"


def _loaded_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("the CA key is not an elliptic curve key")
    return loaded


def _check_pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    if certificate.public_key() != key.public_key():
        raise ValueError("the CA key does not belong to the CA certificate")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is None or not constraints.ca:
        raise ValueError("the certificate is not that of a CA")


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
