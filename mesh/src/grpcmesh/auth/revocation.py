"""Tokens that are void although they have not ended. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from grpcmesh.call import Principal

#: Revocations that a verifier takes from its source. An issuer with more of them revokes everything at once.
MAX_REVOCATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Revocation:
    """Which tokens are void: those of a log-in, or those that were issued to a user until a moment."""

    user_id: int = 0
    """0 with no session: of everybody."""
    session: str = ""
    """The `sid` of the tokens of one log-in; "": of all."""
    issued_until: float = 0.0
    """Unix seconds, for revocations without a session."""


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
