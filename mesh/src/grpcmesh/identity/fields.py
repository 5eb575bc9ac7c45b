"""Reads fields of a certificate. A malformed field counts as absent, instead of raising an exception."""

import datetime
from collections.abc import Iterable
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.hashes import MD5, SHA1

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
#: The most characters of a name in a message, because the certificate may come from anybody.
_LONGEST = 100


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """Return an extension's value, or None if it is absent or malformed (the handshake judges the latter)."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def name_of(certificate: x509.Certificate) -> str:
    """Return the subject of a certificate as text for a message; its serial number if it has none."""
    return text_of(certificate.subject) or f"serial {certificate.serial_number:x}"


def text_of(name: x509.Name) -> str:
    """Return a distinguished name as bounded text for a message."""
    return name.rfc4514_string()[:_LONGEST]


def authority_key(certificate: x509.Certificate) -> bytes | None:
    """Return the identifier of the key that signed the certificate, if it carries one."""
    found = extension(certificate, x509.AuthorityKeyIdentifier)
    return found.key_identifier if found else None


def subject_key(certificate: x509.Certificate) -> bytes | None:
    """Return the identifier of the certificate's own key, if it carries one."""
    found = extension(certificate, x509.SubjectKeyIdentifier)
    return found.digest if found else None


def public_key(certificate: x509.Certificate) -> Any:
    """Return the public key of a certificate, or None if its type is unknown."""
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def encoded_key(key: Any) -> bytes:
    """Return a public key as DER, in which form two keys can be compared."""
    encoded: bytes = key.public_bytes(*_PUBLIC)
    return encoded


def weak_hash(certificate: x509.Certificate) -> str:
    """Return the name of the broken or unknown hash that signs the certificate, or an empty string."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "an unknown hash"
    return algorithm.name.upper() if isinstance(algorithm, MD5 | SHA1) else ""


def utc(moment: datetime.datetime) -> str:
    """Return a time as text for a message."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def utc_of(seconds: float) -> str:
    """Return a time, given in unix seconds, as text for a message."""
    return utc(datetime.datetime.fromtimestamp(seconds, datetime.UTC))


def to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return certificates as the content of one PEM file."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
