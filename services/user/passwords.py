"""Password hashes: scrypt (RFC 7914), kept as `scrypt$LOG2N$R$P$SALT$KEY`."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from grpcmesh.errors import ResourceExhausted

_SALT_BYTES = 16
_KEY_BYTES = 32
_MAX_MEMORY = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Cost:
    """How slow a hash is. The default is one of OWASP's equal minima: 16 MB, about a quarter of a second."""

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
    """The port `Passwords`: in threads (scrypt lets the interpreter go), few at a time, no long queue.

    Args:
        cost: Of new hashes; an old one is verified at the cost that it was made with.
        concurrency: Hashes at a time.
        queue: How many may wait; the next is refused.
    """

    def __init__(self, cost: Cost | None = None, concurrency: int = 2, queue: int = 16) -> None:
        self._cost, self._most = cost or Cost(), concurrency + queue
        self._turns = asyncio.Semaphore(concurrency)
        self._present = 0

    async def hash(self, password: str) -> str:
        """Raises ResourceExhausted when too many wait."""
        salt = secrets.token_bytes(_SALT_BYTES)
        async with self._turn():
            key = await asyncio.to_thread(_derive, password, salt, self._cost)
        return str(_Hash(self._cost, salt, key))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Raises ResourceExhausted when too many wait."""
        # Where there is no hash, the same work is done on one that fits nothing.
        made = _Hash.parse(password_hash) if password_hash else _Hash(self._cost, bytes(_SALT_BYTES), b"")
        async with self._turn():
            key = await asyncio.to_thread(_derive, password, made.salt, made.cost)
        return hmac.compare_digest(key, made.key)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._present >= self._most:
            raise ResourceExhausted("too many logins at once", retry_after=1.0)
        self._present += 1
        try:
            async with self._turns:
                yield
        finally:
            self._present -= 1


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    # NFC, because the same password is typed composed here and decomposed there (RFC 8265, 4.2).
    text = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
    n = 2**cost.log2_n
    return hashlib.scrypt(text, salt=salt, n=n, r=cost.r, p=cost.p, maxmem=_MAX_MEMORY, dklen=_KEY_BYTES)
