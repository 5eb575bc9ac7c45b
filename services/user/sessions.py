"""Refresh tokens, and the decision about a token that a client presents. Pure.

The refresh tokens of one log-in are a chain: `FAMILY.NUMBER.SECRET`, where each secret is the HMAC-SHA256 of
the one before it, under a key of the family. So every replica derives the same successor from the same token,
however often it is asked, and whether or not an answer was lost. An old token proves that it was once valid
by leading to the current one. Of a family only its key, the number and the digest of the current secret are
stored: neither somebody who reads the database nor somebody who stole an old token can compute the current
one.
"""

import enum
import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

#: Seconds for which a token is still accepted after its successor was made: for requests that a browser
#: sent at the same time, and for an answer that was lost. Within them a family is not advanced again.
OVERLAP = 30
#: The most steps for which an old token is followed. At one per `OVERLAP` seconds that is a day and a half.
MAX_STEPS = 4096
_TOKEN = re.compile(r"([0-9a-f]{32})\.([0-9]{1,9})\.([A-Za-z0-9_-]{43})", re.ASCII)


#: The number of a token that was issued before families were chains: its successor is the first.
BEFORE_FIRST = -1


@dataclass(frozen=True, slots=True)
class Ticket:
    """A parsed refresh token. Its repr does not show the secret."""

    family: str
    number: int
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.family}.{self.number}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> "Ticket | None":
        """Parse a refresh token. Returns None if the text does not have that form."""
        match = _TOKEN.fullmatch(text)
        return cls(match[1], int(match[2]), match[3]) if match else None


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A family of refresh tokens as it is stored. Times are in Unix seconds.

    `number` and `digest` are those of the current token. `rotated_at` is when it replaced the one before it,
    or 0 if it is the first.
    """

    family: str
    user_id: int
    key: str = field(repr=False)
    number: int
    digest: str
    rotated_at: int
    expires_at: int


class Verdict(enum.Enum):
    """The decision about a refresh token that a client presents."""

    ROTATE = enum.auto()  # it is the current one: its successor replaces it
    REPEAT = enum.auto()  # its successor has just been made, and is returned again
    REUSED = enum.auto()  # it was valid long ago: it or its successor was stolen (RFC 9700, 4.14.2)
    UNKNOWN = enum.auto()  # it was never valid, or its family has ended


def first(user_id: int, expires_at: int) -> tuple[LoginSession, Ticket]:
    """Return a new family and its first token."""
    family, key, secret = secrets.token_hex(16), secrets.token_hex(32), secrets.token_urlsafe(32)
    return LoginSession(family, user_id, key, 0, digest_of(secret), 0, expires_at), Ticket(family, 0, secret)


def judge(session: LoginSession | None, ticket: Ticket, now: float) -> tuple[Verdict, Ticket]:
    """Decide about a token.

    Args:
        session: The token's family; None if there is none.
        ticket: The token that was presented.
        now: Unix seconds.

    Returns:
        The verdict and, with ROTATE and REPEAT, the current token of the family.
    """
    steps = session.number - ticket.number if session else -1
    if session is None or session.expires_at <= now or not 0 <= steps <= MAX_STEPS:
        return Verdict.UNKNOWN, ticket
    present = ticket
    for _ in range(steps):
        present = after(present, session.key)
    if not hmac.compare_digest(digest_of(present.secret), session.digest):
        return Verdict.UNKNOWN, ticket
    fresh = session.rotated_at > 0 and now < session.rotated_at + OVERLAP
    if steps == 0:
        return (Verdict.REPEAT if fresh else Verdict.ROTATE), present
    return (Verdict.REPEAT if steps == 1 and fresh else Verdict.REUSED), present


def after(ticket: Ticket, key: str) -> Ticket:
    """Return the next token of a family. `key` is the family's, in hexadecimal."""
    mac = hmac.digest(bytes.fromhex(key), ticket.secret.encode("utf-8", "surrogatepass"), "sha256")
    secret = urlsafe_b64encode(mac).rstrip(b"=").decode()
    return Ticket(ticket.family, ticket.number + 1, secret)


def digest_of(secret: str) -> str:
    """Return the digest under which a secret is stored.

    The secret is random enough not to need a slow hash.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
