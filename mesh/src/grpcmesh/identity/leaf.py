"""Checks the leaf certificate: its validity, key, usage and names.

The rules are SPIFFE's for X.509 (https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md, 4 and
5.2), and gRPC's: a key that its TLS library negotiates, and a DNS name.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from grpcmesh.call import Workload
from grpcmesh.identity import fields
from grpcmesh.identity.problems import Cause, Problem
from grpcmesh.spiffe import matches

#: The only curves with a signature algorithm that BoringSSL offers for a leaf by default.
_CURVES = (ec.SECP256R1, ec.SECP384R1)
#: Bits of an RSA key. Other TLS libraries refuse shorter keys, and BoringSSL refuses longer ones.
_RSA = range(2048, 8193)


class Role(enum.StrEnum):
    """The end of a connection that a certificate is for. The values name extended key usages."""

    CLIENT = "clientAuth"
    SERVER = "serverAuth"


_USAGES = {Role.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH, Role.SERVER: ExtendedKeyUsageOID.SERVER_AUTH}
BOTH = frozenset(Role)


@dataclass(frozen=True)
class Expected:
    """The requirements on a process's certificate.

    Args:
        trust_domain: Trust domain of the SPIFFE id. If empty, any is accepted.
        workload: The exact SPIFFE id. If None, any of the trust domain is accepted.
        spiffe_id: A pattern of SPIFFE ids, in place of `workload`.
        dns_name: The name by which clients call the process. If empty, any is accepted, but one is needed.
        roles: The ends of a connection that the certificate is used for. Without SERVER it needs no DNS name.
    """

    trust_domain: str = ""
    workload: Workload | None = None
    dns_name: str = ""
    roles: frozenset[Role] = BOTH
    spiffe_id: str = ""


def check(leaf: x509.Certificate, expected: Expected, now: float) -> list[Problem]:
    """Return all problems of the leaf itself, without its issuers. `now`: unix seconds."""
    found: list[Problem] = []
    for cause, text, until in (
        *_validity(leaf, now),
        *_key(leaf),
        *_usage(leaf, expected.roles),
        *_names(leaf, expected),
    ):
        found.append(Problem(cause, "tls.crt", text, until))
    return found


def workload_of(leaf: x509.Certificate) -> Workload | None:
    """Return the workload in the certificate's SPIFFE URI, or None unless it has exactly one."""
    found = uris(leaf)
    return Workload.of_id(found[0]) if len(found) == 1 else None


def uris(leaf: x509.Certificate) -> list[str]:
    """Return the URIs of the certificate. A usable one has exactly one, its SPIFFE id."""
    return _alternative(leaf, x509.UniformResourceIdentifier)


def may_sign(leaf: x509.Certificate) -> bool:
    """Return whether the certificate may sign others, which SPIFFE forbids for a leaf (X509-SVID, 5.2)."""
    constraints = fields.extension(leaf, x509.BasicConstraints)
    usage = fields.extension(leaf, x509.KeyUsage)
    return bool(constraints and constraints.ca) or bool(usage and (usage.key_cert_sign or usage.crl_sign))


def dns_names(leaf: x509.Certificate) -> list[str]:
    """Return the DNS names of the certificate."""
    return _alternative(leaf, x509.DNSName)


_Found = Iterator[tuple[Cause, str, float | None]]


def _validity(leaf: x509.Certificate, now: float) -> _Found:
    begins, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if now >= ends.timestamp():
        yield Cause.EXPIRED, f"expired at {fields.utc(ends)}; renew it", None
    elif now < begins.timestamp():
        text = f"not valid before {fields.utc(begins)}; is the clock right?"
        yield Cause.NOT_YET_VALID, text, begins.timestamp()


def _key(leaf: x509.Certificate) -> _Found:
    key = fields.public_key(leaf)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            yield Cause.UNSUPPORTED_KEY, f"gRPC takes no key on the curve {key.curve.name}; use P-256", None
    elif isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA:
            text = f"an RSA key of {key.key_size} bits; use {_RSA.start} to {_RSA.stop - 1}, or P-256"
            yield Cause.UNSUPPORTED_KEY, text, None
    else:
        kind = type(key).__name__.removesuffix("PublicKey") if key is not None else "unknown"
        yield Cause.UNSUPPORTED_KEY, f"gRPC takes no key of the type {kind}; use P-256 or RSA", None
    if algorithm := fields.weak_hash(leaf):
        yield Cause.WEAK_SIGNATURE, f"signed with {algorithm}; use SHA-256", None


def _usage(leaf: x509.Certificate, roles: frozenset[Role]) -> _Found:
    usage = fields.extension(leaf, x509.KeyUsage)
    if may_sign(leaf):
        yield (
            Cause.CA_CERTIFICATE,
            "may sign certificates; a workload's must not (CA:TRUE or keyCertSign)",
            None,
        )
    if usage and not usage.digital_signature:
        yield Cause.KEY_USAGE, "its key usage lacks digitalSignature, which TLS 1.3 needs", None
    purposes = fields.extension(leaf, x509.ExtendedKeyUsage)
    lacking = [role for role in sorted(roles) if purposes and _USAGES[role] not in purposes]
    if lacking:
        yield Cause.EXTENDED_KEY_USAGE, f"its extended key usage lacks {' and '.join(lacking)}", None


def _names(leaf: x509.Certificate, expected: Expected) -> _Found:
    yield from _spiffe(leaf, expected)
    if Role.SERVER not in expected.roles:
        return
    names = dns_names(leaf)
    if not names:
        yield Cause.DNS_NAME, "has no DNS name; gRPC refuses a server that has only a URI", None
    elif expected.dns_name and not any(_covers(name, expected.dns_name) for name in names):
        text = f"has no DNS name {expected.dns_name}, by which it is called, only {listed(names)}"
        yield Cause.DNS_NAME, text, None


def _spiffe(leaf: x509.Certificate, expected: Expected) -> _Found:
    found, workload = uris(leaf), workload_of(leaf)
    if workload is None:
        form = "spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE"
        yield Cause.SPIFFE_ID, f"needs exactly one SPIFFE URI ({form}), has {listed(found) or 'none'}", None
    elif expected.spiffe_id:
        if not matches(expected.spiffe_id, str(workload)):
            text = f"is of {workload}, and this process is {expected.spiffe_id}"
            yield Cause.WRONG_WORKLOAD, text, None
    elif expected.workload and workload != expected.workload:
        yield Cause.WRONG_WORKLOAD, f"is of {workload}, and this process is {expected.workload}", None
    elif expected.trust_domain and workload.trust_domain != expected.trust_domain:
        yield Cause.WRONG_WORKLOAD, f"{workload} is not of the trust domain {expected.trust_domain}", None


def _alternative(
    leaf: x509.Certificate, kind: type[x509.DNSName | x509.UniformResourceIdentifier]
) -> list[str]:
    names = fields.extension(leaf, x509.SubjectAlternativeName)
    return list(names.get_values_for_type(kind)) if names else []


def _covers(pattern: str, name: str) -> bool:
    """Return whether a certificate's DNS name covers a host. `*` is the whole first label (RFC 6125)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return pattern == name


def listed(values: list[str]) -> str:
    """Return values from an untrusted certificate as bounded ASCII text on one line."""
    shown = ", ".join(ascii(value[:100])[1:-1] for value in values[:3])
    return f"{shown} and {len(values) - 3} more" if len(values) > 3 else shown
