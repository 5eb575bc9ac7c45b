"""Limits how often an admin's password may be guessed at the console, by the user service's own rule. Pure.

The user service sees only the console's address, not the browser's. So the console counts failures, too.
Otherwise one visitor who guesses passwords would make the user service refuse every log-in from the console.
"""

from collections import OrderedDict

from services.user.domain import Origin
from services.user.throttle import Failures, Limit, limits, wait

#: The most keys that are counted. If there are more, the key that failed the longest ago is forgotten.
MAX_KEYS = 10_000


class Throttle:
    """Failed log-ins by peer and name, and by peer."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def wait(self, peer: str, name: str, now: float) -> float:
        """Return the seconds until the next try is allowed; 0 if it is now. `now` is in seconds."""
        return max(wait(self._of(limit), limit, now) for limit in limits(Origin(peer, name)))

    def begin(self, peer: str, name: str, now: float) -> None:
        """Count a try as failed. Tries that run at the same time cannot pass the limit together."""
        for limit in limits(Origin(peer, name)):
            self._failures[limit.key] = Failures(self._of(limit).count + 1, int(now))
            self._failures.move_to_end(limit.key)
        while len(self._failures) > MAX_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, peer: str, name: str) -> None:
        """Forget the failures of this name from this peer."""
        account, address = limits(Origin(peer, name))
        self._failures.pop(account.key, None)
        self._take_back(address)

    def undecided(self, peer: str, name: str) -> None:
        """Remove one failure, because the user service did not say whether the password was right."""
        for limit in limits(Origin(peer, name)):
            self._take_back(limit)

    def _of(self, limit: Limit) -> Failures:
        return self._failures.get(limit.key, Failures())

    def _take_back(self, limit: Limit) -> None:
        known = self._of(limit)
        if known.count > 1:
            self._failures[limit.key] = Failures(known.count - 1, known.last_at)
        else:
            self._failures.pop(limit.key, None)

    def __len__(self) -> int:
        return len(self._failures)
