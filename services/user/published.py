"""What the user service publishes for those who verify tokens: the keys, and what has been revoked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from grpcmesh.auth import MAX_REVOCATIONS, KeySource, PublicKey, Revocation


class RevocationStore(Protocol):
    """Port: which access tokens are void although they have not expired."""

    async def listed(self, now: int, limit: int) -> Sequence[Revocation]:
        """Entries that concern tokens which have not expired yet; at most `limit`.

        First those of users (of whom the ones with a session are one log-in's of that user), then those of
        log-ins that their own users ended.
        """
        ...


class Published:
    """A `grpcmesh.auth.KeySource` of the user service itself.

    Args:
        keys: The keys that verify tokens.
        store: Where revocations are.
        clock: Unix seconds.
    """

    def __init__(self, keys: KeySource, store: RevocationStore, clock: Callable[[], float]) -> None:
        self._keys, self._store, self._clock = keys, store, clock
        #: As of the last fetch.
        self.revocations: Sequence[Revocation] = ()

    async def fetch(self) -> Mapping[str, PublicKey]:
        """The keys by key id; `revocations` is renewed with them.

        Entries whose tokens have all expired are left out. Where there are more than a verifier takes, those
        of users who logged out themselves are left to expire. Where there are too many even so, one entry
        revokes every token that has been issued so far, and everybody renews its own.
        """
        now = int(self._clock())
        listed = await self._store.listed(now, MAX_REVOCATIONS + 1)
        too_many = len(listed) > MAX_REVOCATIONS and listed[-1].user_id
        everybodys = [Revocation(issued_until=now)]
        self.revocations = everybodys if too_many else listed[:MAX_REVOCATIONS]
        return await self._keys.fetch()
