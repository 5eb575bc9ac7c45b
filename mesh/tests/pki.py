"""Certificates of every kind for tests, good and bad: what `grpcmesh.ca` would never issue."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
NAMES = ("ping", "ping.default.svc.cluster.local")

_USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def usage(*names: str) -> x509.KeyUsage:
    """Return a key usage with these bits, such as `usage("digital_signature")`."""
    return x509.KeyUsage(**{name: name in names for name in _USAGES})


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def key_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class Pair:
    """A leaf, its key, and the intermediates that follow it in tls.crt."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def crt(self) -> bytes:
        return pem(self.certificate, *self.chain)

    @property
    def key_pem(self) -> bytes:
        return key_pem(self.key)


class Authority:
    """A root or, with `parent`, an intermediate.

    Args:
        name: Common name of the subject.
        begins, ends: Validity, relative to now.
        identifiers: Whether subject and authority key identifiers are set.
        basic: Whether to include basic constraints.
        extensions: Additional extensions, with their criticality.
    """

    def __init__(
        self,
        name: str = "root",
        parent: "Authority | None" = None,
        *,
        key: Any = None,
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = 10 * DAY,
        identifiers: bool = True,
        ca: bool = True,
        basic: bool = True,
        path_length: int | None = None,
        key_usage: x509.KeyUsage | None = None,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> None:
        self.key, self.parent, self.identifiers = key or ec_key(), parent, identifiers
        issuer = parent.certificate.subject if parent else _name(name)
        all_extensions = [*extensions, (key_usage or usage("key_cert_sign", "crl_sign"), True)]
        if basic:
            all_extensions.append((x509.BasicConstraints(ca, path_length), True))
        builder = _builder(_name(name), issuer, self.key, NOW + begins, NOW + ends, all_extensions)
        if identifiers:
            builder = _identified(builder, self.key, (parent or self).key)
        self.certificate = _sign(builder, (parent or self).key)

    @property
    def pem(self) -> bytes:
        return pem(self.certificate)

    def issue(
        self,
        service: str = "ping",
        *,
        key: Any = None,
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
        dns: Sequence[str] | None = None,
        uris: Sequence[str] | None = None,
        names: Sequence[x509.GeneralName] = (),
        subject: str = "",
        usages: Sequence[x509.ObjectIdentifier] = (SERVER, CLIENT),
        key_usage: x509.KeyUsage | None = usage("digital_signature"),  # noqa: B008 - immutable
        ca: bool = False,
        identifiers: bool = True,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        chain: Sequence["Authority"] = (),
    ) -> Pair:
        """Issue a leaf. It is valid by default, and arguments can make it invalid.

        Args:
            dns, uris: Alternative names to use instead of those of the service.
            names: Additional alternative names, which may be malformed.
            chain: The intermediates to present, the leaf's issuer first.
        """
        key = key or ec_key()
        full = f"{service}.default.svc.cluster.local"
        alternative = [
            *(x509.DNSName(name) for name in ((service, full) if dns is None else dns)),
            *map(x509.UniformResourceIdentifier, [spiffe_id(service)] if uris is None else uris),
            *names,
        ]
        wanted: list[tuple[x509.ExtensionType, bool]] = [*extensions, (x509.BasicConstraints(ca, None), True)]
        if key_usage is not None:
            wanted.append((key_usage, True))
        if usages:
            wanted.append((x509.ExtendedKeyUsage(list(usages)), False))
        if alternative:
            wanted.append((x509.SubjectAlternativeName(alternative), False))
        builder = _builder(
            _name(subject or service), self.certificate.subject, key, NOW + begins, NOW + ends, wanted
        )
        if identifiers:
            builder = _identified(builder, key, self.key)
        return Pair(_sign(builder, self.key), key, tuple(a.certificate for a in chain))


def spiffe_id(service: str, namespace: str = "default", trust_domain: str = "cluster.local") -> str:
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service}"


def sha1_signed(pair: Pair, issuer: rsa.RSAPrivateKey) -> Pair:
    """Return the same certificate signed with SHA-1, which `cryptography` refuses to make.

    sha1WithRSAEncryption and sha256WithRSAEncryption differ in the last byte (RFC 8017, A.2.4).
    """
    sha256, sha1 = bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d010105")
    signed = pair.certificate.tbs_certificate_bytes.replace(sha256, sha1)
    signature = issuer.sign(signed, padding.PKCS1v15(), hashes.SHA1())
    der = pair.certificate.public_bytes(serialization.Encoding.DER)
    der = der.replace(pair.certificate.tbs_certificate_bytes, signed).replace(sha256, sha1)
    der = der.replace(pair.certificate.signature, signature)
    return Pair(x509.load_der_x509_certificate(der), pair.key, pair.chain)


def malformed_uri(text: str) -> x509.GeneralName:
    """Return a URI name without checks, as a hostile CA or a buggy issuer writes it."""
    return x509.UniformResourceIdentifier._init_without_validation(text)


def malformed_dns(text: str) -> x509.GeneralName:
    """Return a DNS name without checks."""
    return x509.DNSName._init_without_validation(text)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: Any,
    begins: datetime.datetime,
    ends: datetime.datetime,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder


def _identified(builder: x509.CertificateBuilder, key: Any, issuer: Any) -> x509.CertificateBuilder:
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    its = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return builder.add_extension(own, False).add_extension(its, False)


def _sign(builder: x509.CertificateBuilder, key: Any) -> x509.Certificate:
    hashless = isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(key, None if hashless else hashes.SHA256())
