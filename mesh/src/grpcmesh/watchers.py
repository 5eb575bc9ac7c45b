"""How many streams that stay open a server serves: watches of its health, load reports out of band."""

from collections import Counter

from grpcmesh.errors import ResourceExhausted

#: Seconds after which one that was refused may try again.
_RETRY_AFTER = 5.0


class WatcherBudget:
    """Counts watchers, all of them and those of each peer.

    Args:
        total: How many there may be.
        per_peer: How many of them one peer may have.
        what: Is watched; for the error.
    """

    def __init__(self, total: int, per_peer: int, what: str) -> None:
        self._total, self._per_peer, self._what = total, per_peer, what
        self._peers: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Watchers now."""
        return self._peers.total()

    def enter(self, peer: str) -> None:
        """Count a watcher. Raises ResourceExhausted where there is no room for it."""
        if self.count >= self._total or self._peers[peer] >= self._per_peer:
            raise ResourceExhausted(f"too many watchers of {self._what}", retry_after=_RETRY_AFTER)
        self._peers[peer] += 1

    def leave(self, peer: str) -> None:
        """Count it no more."""
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]
