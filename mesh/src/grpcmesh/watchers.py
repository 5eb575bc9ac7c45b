"""Limits the long-lived streams that a server serves: health watches and out-of-band load reports."""

from collections import Counter

from grpcmesh.errors import ResourceExhausted

#: Seconds after which a refused watcher may try again.
_RETRY_AFTER = 5.0


class WatcherBudget:
    """Limits the number of watchers, in all and for each peer.

    Args:
        total: The most watchers in all.
        per_peer: The most watchers of one peer.
        what: The watched thing, which the error message names.
    """

    def __init__(self, total: int, per_peer: int, what: str) -> None:
        self._total, self._per_peer, self._what = total, per_peer, what
        self._peers: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Return the current number of watchers."""
        return self._peers.total()

    def enter(self, peer: str) -> None:
        """Count a watcher. Raises ResourceExhausted if there is no room for it."""
        if self.count >= self._total or self._peers[peer] >= self._per_peer:
            raise ResourceExhausted(f"too many watchers of {self._what}", retry_after=_RETRY_AFTER)
        self._peers[peer] += 1

    def leave(self, peer: str) -> None:
        """Stop counting a watcher of this peer."""
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]
