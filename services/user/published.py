"""Publishes the keys and the revocations that verifiers of tokens need."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from grpcmesh.auth import MAX_REVOCATIONS, KeySource, PublicKey, Revocation


class RevocationStore(Protocol):
    """Port: lists access tokens that are revoked although they have not expired."""

    async def listed(self, now: int, limit: int) -> Sequence[Revocation]:
        """Return at most `limit` revocations of tokens that have not expired yet at the Unix time `now`.

        First come those of users (an entry that also has a session concerns one log-in of that user), then
        those of log-ins that their own users ended.
        """
        ...


class Published:
    """The `grpcmesh.auth.KeySource` of the user service itself.

    Args:
        keys: The keys that verify tokens.
        store: The revocations.
        clock: Returns the time in Unix seconds.
    """

    def __init__(self, keys: KeySource, store: RevocationStore, clock: Callable[[], float]) -> None:
        self._keys, self._store, self._clock = keys, store, clock
        #: The revocations as of the last fetch.
        self.revocations: Sequence[Revocation] = ()

    async def fetch(self) -> Mapping[str, PublicKey]:
        """Return the keys by key id, and update `revocations`.

        Entries whose tokens have all expired are left out. If there are more than a verifier accepts, those
        of users who logged out themselves are left out, too, and their tokens expire by themselves. If there
        are still too many, one entry revokes every token that has been issued so far, and every client must
        renew its own.
        """
        now = int(self._clock())
        listed = await self._store.listed(now, MAX_REVOCATIONS + 1)
        too_many = len(listed) > MAX_REVOCATIONS and listed[-1].user_id
        everybodys = [Revocation(issued_until=now)]
        self.revocations = everybodys if too_many else listed[:MAX_REVOCATIONS]
        return await self._keys.fetch()
