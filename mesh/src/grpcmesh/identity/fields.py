"""Fields of a certificate, read so that a malformed one is absent rather than an exception."""

import datetime
from collections.abc import Iterable
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.hashes import MD5, SHA1

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
#: Characters of a name in a message: the certificate may be a stranger's.
_LONGEST = 100


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """An extension's value. None where it is absent or malformed: the handshake decides about the latter."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def name_of(certificate: x509.Certificate) -> str:
    """The subject, for a message."""
    return text_of(certificate.subject) or f"serial {certificate.serial_number:x}"


def text_of(name: x509.Name) -> str:
    """A distinguished name, for a message."""
    return name.rfc4514_string()[:_LONGEST]


def authority_key(certificate: x509.Certificate) -> bytes | None:
    """The identifier of the key that signed it, where it carries one."""
    found = extension(certificate, x509.AuthorityKeyIdentifier)
    return found.key_identifier if found else None


def subject_key(certificate: x509.Certificate) -> bytes | None:
    """The identifier of its own key, where it carries one."""
    found = extension(certificate, x509.SubjectKeyIdentifier)
    return found.digest if found else None


def public_key(certificate: x509.Certificate) -> Any:
    """The public key, or None where its type is unknown."""
    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def encoded_key(key: Any) -> bytes:
    """A public key in the form in which two are compared."""
    encoded: bytes = key.public_bytes(*_PUBLIC)
    return encoded


def weak_hash(certificate: x509.Certificate) -> str:
    """The name of the broken hash that the certificate is signed with, or nothing."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "an unknown hash"
    return algorithm.name.upper() if isinstance(algorithm, MD5 | SHA1) else ""


def utc(moment: datetime.datetime) -> str:
    """A time, for a message."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def utc_of(seconds: float) -> str:
    """A time in Unix seconds, for a message."""
    return utc(datetime.datetime.fromtimestamp(seconds, datetime.UTC))


def to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """The certificates as one PEM file."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)
