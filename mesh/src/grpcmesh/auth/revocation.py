"""Revocations: tokens that are void although they have not expired. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from grpcmesh.call import Principal

#: The most revocations that a key source publishes. An issuer with more of them revokes all tokens at once.
MAX_REVOCATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Revocation:
    """Revokes the tokens of one log-in, or those issued to a user until a given time."""

    user_id: int = 0
    """The user whose tokens are void. 0 without a session means every user."""
    session: str = ""
    """The log-in (`sid`) whose tokens are void. If empty, `user_id` and `issued_until` decide."""
    issued_until: float = 0.0
    """Tokens issued until then (unix seconds) are void. Only used without a session."""


class Revocations:
    """A revocation list, as the key source publishes it."""

    def __init__(self, entries: Iterable[Revocation] = ()) -> None:
        self._entries = frozenset(entries)
        self._sessions = frozenset(e.session for e in self._entries if e.session)
        self._users: dict[int, float] = {}
        for entry in self._entries:
            if not entry.session:
                before = self._users.get(entry.user_id, 0.0)
                self._users[entry.user_id] = max(before, entry.issued_until)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Revocations) and self._entries == other._entries

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._entries)

    def cover(self, principal: Principal) -> bool:
        """Return whether the token that made this principal has been revoked."""
        if principal.session and principal.session in self._sessions:
            return True
        until = max(self._users.get(principal.user_id, -1.0), self._users.get(0, -1.0))
        return principal.issued_at <= until
