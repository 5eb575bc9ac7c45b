"""Checks `https` URLs, and hides the parts of URLs that may hold a secret. Pure."""

import re
from urllib.parse import SplitResult, urlsplit

#: The most characters of a URL.
_LONGEST = 2048
#: The user and the password of a URL, and its query, which may hold a key.
_USER_INFO = re.compile(r"//[^/@\s]*@")
_QUERY = re.compile(r"(://[^\s?#,'\"]*)\?[^\s#,'\"]+")
HIDDEN = "[redacted]"


def https_parts(url: str) -> SplitResult:
    """Return the parts of an `https` URL.

    Raises:
        ValueError: It is no `https` URL of a host, or holds a user name. The message does not hold the URL.
    """
    if not (url.isascii() and url.isprintable()) or " " in url or len(url) > _LONGEST:
        raise ValueError("is not a URL")
    parts = urlsplit(url)  # raises ValueError for a malformed IPv6 address
    if parts.scheme != "https" or not parts.hostname:
        raise ValueError("is not an https:// URL")
    _require_port(parts)
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user name or a password")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as e:
        raise ValueError("does not name a host") from e
    return parts


def _require_port(parts: SplitResult) -> None:
    try:
        good = parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("has a wrong port")


def without_secrets(text: str) -> str:
    """Return the text with placeholders for the user, the password and the query of each URL in it."""
    return _QUERY.sub(rf"\1?{HIDDEN}", _USER_INFO.sub(f"//{HIDDEN}@", text))
