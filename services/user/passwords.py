"""Password hashes with scrypt (RFC 7914), stored as `scrypt$LOG2N$R$P$SALT$KEY`."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import unicodedata
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from services.user.domain import NOWHERE, Origin
from services.user.turns import Turns

_SALT_BYTES = 16
_KEY_BYTES = 32
_MAX_MEMORY = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost parameters of scrypt.

    The default is one of OWASP's equal minima: 16 MB, about a quarter of a second.
    """

    log2_n: int = 14
    r: int = 8
    p: int = 5


@dataclass(frozen=True, slots=True)
class _Hash:
    cost: Cost
    salt: bytes
    key: bytes

    def __str__(self) -> str:
        c = self.cost
        salt, key = (base64.b64encode(b).decode() for b in (self.salt, self.key))
        return f"scrypt${c.log2_n}${c.r}${c.p}${salt}${key}"

    @classmethod
    def parse(cls, text: str) -> "_Hash":
        _, log2_n, r, p, salt, key = text.split("$")
        return cls(Cost(int(log2_n), int(r), int(p)), base64.b64decode(salt), base64.b64decode(key))


class ScryptPasswords:
    """Implements the port `Passwords` in threads (scrypt releases the GIL), few at a time, in fair turns.

    Args:
        cost: The cost of new hashes. An old hash is verified at the cost that it was made with.
        turns: Decides whose turn it is.
    """

    def __init__(self, cost: Cost | None = None, turns: Turns | None = None) -> None:
        self._cost, self._turns = cost or Cost(), turns or Turns()

    def turn(self, origin: Origin) -> AbstractAsyncContextManager[None]:
        """Wait for a turn to verify a password. Raises ResourceExhausted when too many wait."""
        return self._turns.turn(origin)

    async def hash(self, password: str, origin: Origin = NOWHERE) -> str:
        """Hash a password. Raises ResourceExhausted when too many requests of this origin wait."""
        salt = secrets.token_bytes(_SALT_BYTES)
        async with self.turn(origin):
            key = await asyncio.to_thread(_derive, password, salt, self._cost)
        return str(_Hash(self._cost, salt, key))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether a password is right. Whoever calls has its `turn`."""
        # If there is no hash, the same work is done on one that no password matches.
        made = _Hash.parse(password_hash) if password_hash else _Hash(self._cost, bytes(_SALT_BYTES), b"")
        key = await asyncio.to_thread(_derive, password, made.salt, made.cost)
        return hmac.compare_digest(key, made.key)


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    # NFC, because the same password is typed composed here and decomposed there (RFC 8265, 4.2).
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    n = 2**cost.log2_n
    return hashlib.scrypt(text, salt=salt, n=n, r=cost.r, p=cost.p, maxmem=_MAX_MEMORY, dklen=_KEY_BYTES)
