"""Parses the three PEM files of an identity. Hostile or incomplete content becomes a `Problem`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from grpcmesh.identity import fields
from grpcmesh.identity.problems import Cause, Problem

#: The most bytes of a file, and certificates in one. A bundle of all public CAs has 250 kB and 150 of them.
MAX_SIZE, MAX_CERTIFICATES = 1_000_000, 1000

_BEGIN = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")


@dataclass(frozen=True, repr=False)
class Material:
    """The content of the three files, in PEM.

    Args:
        cert_chain: tls.crt: the leaf, followed by intermediates.
        private_key: tls.key: the key of the leaf.
        ca: ca.crt: the trust bundle.
        federated: The bundles of other trust domains, by name. Each verifies workloads of its domain only.
    """

    cert_chain: bytes
    private_key: bytes
    ca: bytes
    federated: Mapping[str, bytes] = field(default_factory=dict, hash=False)

    def bundle_for(self, domain: str) -> bytes:
        """Return the CAs that verify servers of a trust domain: its own bundle if it has one, else ours."""
        return self.federated.get(domain, self.ca)


@dataclass(frozen=True, repr=False)
class Parsed:
    """The certificates and the key that the files hold."""

    leaf: x509.Certificate
    #: Intermediates, in the order of tls.crt.
    chain: tuple[x509.Certificate, ...]
    bundle: tuple[x509.Certificate, ...]


def parse(material: Material) -> Parsed | list[Problem]:
    """Parse the three files. Return the problems if one cannot be parsed. Does not raise."""
    chain = certificates("tls.crt", material.cert_chain)
    bundle = certificates("ca.crt", material.ca)
    if isinstance(chain, Problem) or isinstance(bundle, Problem):
        return [p for p in (chain, bundle) if isinstance(p, Problem)]
    if problem := _check_key(chain, material.private_key):
        return [problem]
    return Parsed(chain[0], tuple(chain[1:]), tuple(bundle))


def certificates(file: str, content: bytes) -> list[x509.Certificate] | Problem:
    """Return the certificates of a PEM file, at least one, or a problem.

    An incomplete certificate makes the whole file a problem.

    Args:
        file: Name of the file, for messages.
        content: Its content.
    """
    if len(content) > MAX_SIZE:
        return Problem(Cause.UNREADABLE, file, f"has more than {MAX_SIZE} bytes")
    begun = len(_BEGIN.findall(content))
    if begun > MAX_CERTIFICATES:
        return Problem(Cause.UNREADABLE, file, f"holds more than {MAX_CERTIFICATES} certificates")
    try:
        found = x509.load_pem_x509_certificates(content)
        for certificate in found:
            _decode(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        return Problem(Cause.MALFORMED, file, "not a complete PEM certificate")
    if not found or len(found) != begun:
        return Problem(Cause.MALFORMED, file, "not a complete PEM certificate")
    return found


def _decode(certificate: x509.Certificate) -> None:
    """Read the fields that `cryptography` decodes only on access. Raises ValueError for a bad one."""
    _ = certificate.subject, certificate.issuer, certificate.version
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _check_key(chain: list[x509.Certificate], content: bytes) -> Problem | None:
    if len(content) > MAX_SIZE:
        return Problem(Cause.UNREADABLE, "tls.key", f"has more than {MAX_SIZE} bytes")
    try:
        key = serialization.load_pem_private_key(content, password=None)
        own = fields.encoded_key(key.public_key())
    except TypeError:
        return Problem(Cause.ENCRYPTED_KEY, "tls.key", "is encrypted; gRPC needs an unencrypted PEM key")
    except (ValueError, UnsupportedAlgorithm):
        return Problem(Cause.MALFORMED, "tls.key", "not a complete, unencrypted PEM private key")
    return _compare(chain, own)


def _compare(chain: list[x509.Certificate], own: bytes) -> Problem | None:
    keys = [fields.public_key(certificate) for certificate in chain]
    matches = [key is not None and fields.encoded_key(key) == own for key in keys]
    if matches[0]:
        return None
    if any(matches):
        number = matches.index(True) + 1
        text = f"the certificate of tls.key is number {number} of {len(chain)}; the leaf must come first"
        return Problem(Cause.WRONG_ORDER, "tls.crt", text)
    return Problem(Cause.KEY_MISMATCH, "tls.key", "does not belong to tls.crt")
