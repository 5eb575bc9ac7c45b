"""Typed problems of an identity, so that metric, log line and the caller's error name the same cause."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Cause(enum.StrEnum):
    """The reason why an identity cannot be used: the label `cause` of `mesh_identity_problem`."""

    #: A file is missing, cannot be read or is too large.
    UNREADABLE = "unreadable"
    #: A file is half written or does not hold what it should.
    MALFORMED = "malformed"
    ENCRYPTED_KEY = "encrypted_key"
    KEY_MISMATCH = "key_mismatch"
    #: The leaf is not the first certificate of tls.crt.
    WRONG_ORDER = "wrong_order"
    #: The key has a type, curve or size that gRPC does not negotiate.
    UNSUPPORTED_KEY = "unsupported_key"
    #: Signed with SHA-1 or MD5.
    WEAK_SIGNATURE = "weak_signature"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    #: The leaf may sign certificates.
    CA_CERTIFICATE = "ca_certificate"
    KEY_USAGE = "key_usage"
    EXTENDED_KEY_USAGE = "extended_key_usage"
    #: There is not exactly one well-formed SPIFFE URI.
    SPIFFE_ID = "spiffe_id"
    #: The SPIFFE id is that of another workload.
    WRONG_WORKLOAD = "wrong_workload"
    #: There is no DNS name, or not the one by which the process is called.
    DNS_NAME = "dns_name"
    #: The chain does not lead to the bundle: a foreign CA, a missing intermediate, a CA removed too early.
    UNKNOWN_ISSUER = "unknown_issuer"
    #: The bundle holds a CA of the issuer's name with another key.
    ISSUER_KEY_CHANGED = "issuer_key_changed"
    #: The bundle holds several CAs with one name, and no key identifiers distinguish them.
    AMBIGUOUS_ISSUER = "ambiguous_issuer"
    ISSUER_NOT_YET_VALID = "issuer_not_yet_valid"
    ISSUER_EXPIRED = "issuer_expired"
    #: An issuer is not a CA, or may not sign this certificate.
    INVALID_ISSUER = "invalid_issuer"
    #: The checks found nothing, but the handshake failed.
    HANDSHAKE = "handshake"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of an identity.

    Args:
        cause: The kind of problem.
        file: The file that has it: `tls.crt`, `tls.key` or `ca.crt`.
        text: What is wrong and what to do, without a full stop. Never holds a secret.
        until: Unix seconds at which the problem ends by itself; None if it stays until the files change.
    """

    cause: Cause
    file: str
    text: str
    until: float | None = None

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


class IdentityError(Exception):
    """Raised if the certificate directory does not hold a usable identity.

    Args:
        message: One line, which names the file.
        problems: All problems that were found. The message is about the first.
    """

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
