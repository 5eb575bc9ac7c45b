"""Checks a path to the trust bundle: signatures, validity and limits of every issuer."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from grpcmesh.identity import fields
from grpcmesh.identity.path import Certificates, Path
from grpcmesh.identity.problems import Cause, Problem

#: Curves that BoringSSL can decode for issuers. For leaves it negotiates fewer.
_CURVES = (ec.SECP224R1, ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def check(path: Path, bundle: Certificates, now: float, file: str = "tls.crt") -> list[Problem]:
    """Return the problems of a path. Of the leaf, only the signature is checked.

    Args:
        path: The path from the leaf.
        bundle: The trust bundle.
        now: Unix seconds.
        file: The name of the leaf's file in messages.
    """
    if not path.anchored:
        return [_unanchored(path, bundle, file)]
    problems = []
    for depth, (subject, issuer) in enumerate(zip(path.certificates, path.issuers, strict=False)):
        trusted = issuer in bundle
        where = "ca.crt" if trusted else file
        found = _check_signature(subject, issuer, file) or _check_issuer(issuer, depth, trusted, where, now)
        problems += [found] if found else []
    return problems


def check_bundle(leaf: x509.Certificate, bundle: Certificates) -> list[Problem]:
    """Return a problem for each name that several CAs of the bundle share.

    There is no problem if key identifiers distinguish the CAs. Otherwise only certificates of one of them
    would be accepted, and the order of the bundle would decide which.
    """
    by_name: dict[x509.Name, list[x509.Certificate]] = {}
    for ca in bundle:
        by_name.setdefault(ca.subject, []).append(ca)
    return [_ambiguous(cas) for cas in by_name.values() if _is_ambiguous(leaf, cas)]


def check_issuer(path: Path) -> list[Problem]:
    """Return a problem if nothing is trusted but the leaf itself, as where tls.crt was copied to ca.crt.

    A handshake with itself would succeed, but with no other workload: its issuer is not trusted.
    """
    if not path.anchored or path.issuers:
        return []
    text = (
        f"it holds the certificate {fields.name_of(path.certificates[0])!r} itself and not its issuer: "
        "no other workload would be accepted; put the CA into ca.crt"
    )
    return [Problem(Cause.UNKNOWN_ISSUER, "ca.crt", text)]


def is_ca(certificate: x509.Certificate) -> bool:
    """Return whether a certificate of a bundle can sign others, with a key that gRPC can read."""
    return not _unfit(certificate, 0, trusted=True)


def _is_ambiguous(leaf: x509.Certificate, cas: Certificates) -> bool:
    if len({_key_of(ca) for ca in cas}) < 2:
        return False
    ours_has_none = leaf.issuer == cas[0].subject and fields.authority_key(leaf) is None
    return ours_has_none or any(fields.subject_key(ca) is None for ca in cas)


def _ambiguous(cas: Certificates) -> Problem:
    text = (
        f"{len(cas)} CAs are named {fields.name_of(cas[0])!r} and no key identifiers tell them apart: "
        "certificates of only one of them would be accepted; give each CA a name of its own"
    )
    return Problem(Cause.AMBIGUOUS_ISSUER, "ca.crt", text)


def _unanchored(path: Path, bundle: Certificates, file: str) -> Problem:
    last = path.certificates[-1]
    name, issuer = fields.name_of(last), fields.text_of(last.issuer)
    if any(ca.subject == last.issuer and ca != last for ca in bundle):
        text = (
            f"ca.crt holds the CA {issuer!r} with another key than the one that signed {name!r}: "
            "it was renewed under its old name; keep both in ca.crt until every certificate is renewed"
        )
        return Problem(Cause.ISSUER_KEY_CHANGED, file, text)
    text = (
        f"the issuer {issuer!r} of {name!r} is neither in ca.crt nor an intermediate in tls.crt: "
        "add the CA to ca.crt, or the missing intermediate to tls.crt"
    )
    return Problem(Cause.UNKNOWN_ISSUER, file, text)


def _check_signature(subject: x509.Certificate, issuer: x509.Certificate, file: str) -> Problem | None:
    name = fields.name_of(subject)
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        text = (
            f"{name!r} is not signed by the key of the CA {fields.name_of(issuer)!r} in ca.crt: "
            "it was renewed under its old name; keep both in ca.crt, with key identifiers"
        )
        return Problem(Cause.ISSUER_KEY_CHANGED, file, text)
    if algorithm := fields.weak_hash(subject):
        return Problem(Cause.WEAK_SIGNATURE, file, f"{name!r} is signed with {algorithm}; use SHA-256")
    return None


def _check_issuer(
    issuer: x509.Certificate, depth: int, trusted: bool, file: str, now: float
) -> Problem | None:
    """Check one issuer. `depth`: the number of intermediates below it. `now`: unix seconds."""
    name, begins, ends = fields.name_of(issuer), issuer.not_valid_before_utc, issuer.not_valid_after_utc
    if now >= ends.timestamp():
        return Problem(Cause.ISSUER_EXPIRED, file, f"the CA {name!r} expired at {fields.utc(ends)}; renew it")
    if now < begins.timestamp():
        text = f"the CA {name!r} is not valid before {fields.utc(begins)}; is the clock right?"
        return Problem(Cause.ISSUER_NOT_YET_VALID, file, text, until=begins.timestamp())
    if text := _unfit(issuer, depth, trusted):
        return Problem(Cause.INVALID_ISSUER, file, f"the CA {name!r} {text}")
    return None


def _unfit(issuer: x509.Certificate, depth: int, trusted: bool) -> str:
    """Return why a certificate must not issue others. `trusted`: whether it is in the bundle itself."""
    constraints = fields.extension(issuer, x509.BasicConstraints)
    if constraints is None and not trusted:  # or any leaf without the extension could issue (RFC 5280, 6.1.4)
        return "is no CA: it has no basic constraints"
    if constraints is not None and not constraints.ca:
        return "is no CA: its basic constraints say so"
    limit = constraints.path_length if constraints else None
    if limit is not None and depth > limit:
        return f"allows {limit} intermediates below it, not {depth}"
    return "" if _is_supported(fields.public_key(issuer)) else "has a key of a type that gRPC cannot read"


def _is_supported(key: object) -> bool:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return isinstance(key.curve, _CURVES)
    return isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey)


def _key_of(certificate: x509.Certificate) -> bytes:
    key = fields.public_key(certificate)
    return fields.encoded_key(key) if key is not None else certificate.tbs_certificate_bytes
