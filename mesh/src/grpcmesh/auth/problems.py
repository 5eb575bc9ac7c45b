"""Why the keys of an issuer could not be fetched."""

import enum

#: The most characters of a text from outside in a message.
_LONGEST = 200


class KeyCause(enum.StrEnum):
    """The cause, which is a label of `mesh_auth_key_problem`."""

    NAME_UNKNOWN = "name_unknown"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNTRUSTED = "untrusted"
    """The server's TLS certificate is not accepted, or the TLS handshake failed."""
    REDIRECT = "redirect"
    STATUS = "status"
    TOO_LARGE = "too_large"
    NOT_HTTP = "not_http"
    NOT_JSON = "not_json"
    NOT_KEYS = "not_keys"
    """The document has another shape, or none of its keys can be used."""
    ISSUER_MISMATCH = "issuer_mismatch"
    NOT_HTTPS = "not_https"
    """An address that the issuer publishes is not `https`."""
    UNREADABLE = "unreadable"
    FAILED = "failed"
    """A source of the application raised an exception."""


class KeysError(Exception):
    """Raised if keys cannot be fetched. The message is one line that names the address and the reason."""

    def __init__(self, cause: KeyCause, text: str) -> None:
        super().__init__(text)
        self.cause = cause


def told(value: object) -> str:
    """Return a value from outside as bounded ASCII text on one line."""
    text = ascii(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
