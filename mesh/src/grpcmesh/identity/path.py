"""Finds the path from a certificate to the trust bundle, as gRPC's TLS library does.

BoringSSL does not search. At each step it takes the first certificate of the bundle, else of the presented
chain, that has the issuer's name and, if both carry one, the key identifier (RFC 5280, 4.2.1.1). If that
certificate has expired or has another key, verification fails, even if a better one follows.
Seen with grpcio 1.85.1; `tests/integration/test_identity_conformance.py` compares this with real handshakes.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509

from grpcmesh.identity.fields import authority_key, extension, subject_key

#: The most certificates of a path. Longer ones are not followed.
MAX_DEPTH = 10

Certificates = Sequence[x509.Certificate]


@dataclass(frozen=True)
class Path:
    """A leaf and its issuers, each issued by the next. `anchored`: whether the last one is in the bundle."""

    certificates: tuple[x509.Certificate, ...]
    anchored: bool

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        return self.certificates[1:]


def ordered(bundle: Iterable[x509.Certificate], now: float) -> tuple[x509.Certificate, ...]:
    """Return the bundle without duplicates: valid certificates first, and among them the last to expire.

    A CA that was renewed with the same key and name is in the bundle twice. TLS uses the first one, so that
    must not have expired.

    Args:
        bundle: The certificates.
        now: Unix seconds.
    """
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)

    def rank(ca: x509.Certificate) -> tuple[bool, float]:
        valid = ca.not_valid_before_utc <= moment < ca.not_valid_after_utc
        return not valid, -ca.not_valid_after_utc.timestamp()

    return tuple(sorted(dict.fromkeys(bundle), key=rank))


def find(leaf: x509.Certificate, chain: Certificates, bundle: Certificates) -> Path:
    """Return the path from the leaf: follow issuers until there is none, or one is self-issued."""
    path = [leaf]
    while len(path) < MAX_DEPTH and path[-1].issuer != path[-1].subject:
        issuer = _first_issuer(path[-1], bundle) or _first_issuer(path[-1], chain)
        if issuer is None or issuer in path:
            break
        path.append(issuer)
    trusted = [number for number, certificate in enumerate(path) if certificate in bundle]
    return Path(tuple(path[: trusted[-1] + 1] if trusted else path), bool(trusted))


def _first_issuer(subject: x509.Certificate, candidates: Certificates) -> x509.Certificate | None:
    wanted = authority_key(subject)
    for candidate in candidates:
        if candidate.subject != subject.issuer or not _may_sign(candidate):
            continue
        own = subject_key(candidate)
        if wanted is None or own is None or wanted == own:
            return candidate
    return None


def _may_sign(certificate: x509.Certificate) -> bool:
    usage = extension(certificate, x509.KeyUsage)
    return usage is None or usage.key_cert_sign
