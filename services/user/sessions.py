"""What a refresh token is, and what to do with one that comes. Pure.

The refresh tokens of one log-in are a chain: `FAMILY.NUMBER.SECRET`, each secret the HMAC-SHA256 of the one
before it under a key of the family's own. So every replica derives the same successor from the same token,
however often it is asked, and whether or not an answer was lost; and an old token proves by leading to the
present one that it was once real. Kept of a family are its key, the number, and the digest of the present
secret: neither who reads the database nor who stole an old token can compute the present one.
"""

import enum
import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field

#: Seconds for which a token is still good after its successor was made: for requests that a browser sent at
#: the same time, and for an answer that was lost. Within them a family is not moved on again.
OVERLAP = 30
#: Steps that an old token is followed for. One every `OVERLAP` seconds would get there in a day and a half.
MAX_STEPS = 4096
_TOKEN = re.compile(r"([0-9a-f]{32})\.([0-9]{1,9})\.([A-Za-z0-9_-]{43})", re.ASCII)


#: The number of a token that was issued before families were chains: its successor is the first.
BEFORE_FIRST = -1


@dataclass(frozen=True, slots=True)
class Ticket:
    """A refresh token, taken apart. The secret is in no repr."""

    family: str
    number: int
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.family}.{self.number}.{self.secret}"

    @classmethod
    def parse(cls, text: str) -> "Ticket | None":
        """None for what is not written like one."""
        match = _TOKEN.fullmatch(text)
        return cls(match[1], int(match[2]), match[3]) if match else None


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A family of refresh tokens as it is kept. Times in Unix seconds.

    `number` and `digest` are those of the present token, `rotated_at` is when it took the place of the one
    before it; 0: it is the first.
    """

    family: str
    user_id: int
    key: str = field(repr=False)
    number: int
    digest: str
    rotated_at: int
    expires_at: int


class Verdict(enum.Enum):
    """What a refresh token that comes is good for."""

    ROTATE = enum.auto()  # it is the present one: its successor takes its place
    REPEAT = enum.auto()  # its successor has just been made, and is handed out again
    REUSED = enum.auto()  # it was good long ago: somebody has stolen it, or its successor (RFC 9700, 4.14.2)
    UNKNOWN = enum.auto()  # it was never good, or its family has ended


def first(user_id: int, expires_at: int) -> tuple[LoginSession, Ticket]:
    """A new family and its first token."""
    family, key, secret = secrets.token_hex(16), secrets.token_hex(32), secrets.token_urlsafe(32)
    return LoginSession(family, user_id, key, 0, digest_of(secret), 0, expires_at), Ticket(family, 0, secret)


def judge(session: LoginSession | None, ticket: Ticket, now: float) -> tuple[Verdict, Ticket]:
    """What to do with a token.

    Args:
        session: Its family; None if there is none.
        ticket: What came.
        now: Unix seconds.

    Returns:
        With ROTATE and REPEAT, the present token of the family.
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
    """The next token of a family."""
    mac = hmac.digest(bytes.fromhex(key), ticket.secret.encode("utf-8", "surrogatepass"), "sha256")
    secret = urlsafe_b64encode(mac).rstrip(b"=").decode()
    return Ticket(ticket.family, ticket.number + 1, secret)


def digest_of(secret: str) -> str:
    """What is kept of a secret. It is random enough not to need a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
