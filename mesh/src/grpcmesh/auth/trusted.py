"""One trusted issuer of tokens: the keys that it publishes, their age, and when to fetch them again."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from grpcmesh.auth.claims import ClaimRules
from grpcmesh.auth.keys import KeySource, PublicKey, algorithm_of
from grpcmesh.auth.problems import KeyCause, KeysError
from grpcmesh.auth.revocation import Revocations
from grpcmesh.backoff import Backoff
from grpcmesh.clock import Clock

#: Least seconds between two fetches that unknown key ids cause.
MIN_INTERVAL = 1.0
#: Bounds of the wait after a failed fetch, in seconds, unless the source says otherwise.
RETRY_INTERVAL, LONGEST_BACKOFF = 0.2, 1.0

_log = logging.getLogger(__name__)


class TrustedIssuer:
    """The keys of one issuer. `watch` fetches them in the background.

    After a failed fetch the last good keys stay, until they are older than the stale limit.

    Args:
        rules: The form of its claims, and its name (`iss`).
        audiences: The audiences of tokens that are accepted.
        source: Source of the keys. While it is None, the issuer's tokens are refused.
        algorithms: The signature algorithms that are allowed. Keys for others are ignored.
        refresh_interval: Seconds between two fetches, unless the source says otherwise.
        stale_limit: Seconds after the last good fetch from which its keys are not used.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        rules: ClaimRules,
        audiences: Sequence[str],
        source: KeySource | None,
        algorithms: Collection[str],
        refresh_interval: float,
        stale_limit: float,
        clock: Clock = time.monotonic,
    ) -> None:
        self.rules, self.audiences, self.source = rules, list(audiences), source
        self._algorithms, self._clock = algorithms, clock
        self._refresh_interval, self._stale_limit = refresh_interval, stale_limit
        self.keys: Mapping[str, PublicKey] = {}
        self.revocations = Revocations()
        #: Called when keys or revocations have changed.
        self.on_change: Callable[[TrustedIssuer], object] = bool
        self.fetches = {"success": 0, "error": 0}
        #: Why the last fetch failed; None if it succeeded.
        self.problem: KeysError | None = None
        self._fetched_at: float | None = None
        self._wanted = asyncio.Event()

    @property
    def usable(self) -> bool:
        """Return whether there are keys that are not too old."""
        return self._fetched_at is not None and self._clock() < self._fetched_at + self._stale_limit

    @property
    def age(self) -> float | None:
        """Return the seconds since the last good fetch, or None before the first."""
        return None if self._fetched_at is None else self._clock() - self._fetched_at

    def want(self) -> None:
        """Have the keys fetched soon, because a token names an unknown one."""
        self._wanted.set()

    def key(self, header: Mapping[str, Any]) -> PublicKey | None:
        """Return the key that a token's header names, or None.

        An issuer with a single key may omit key ids, in the key set and in tokens (RFC 7515, 4.1.4).
        """
        kid = header.get("kid", "" if len(self.keys) == 1 else None)
        return self.keys.get(kid) if isinstance(kid, str) else None

    async def start(self) -> None:
        """Fetch the keys, with retries until it succeeds."""
        backoff = self._backoff()
        while not await self.refresh():  # noqa: ASYNC110 - the event is another process's
            await asyncio.sleep(backoff.next())

    async def refresh(self) -> bool:
        """Fetch the keys now. Return whether that succeeded.

        A failure is counted, and logged if its reason is new. The old keys stay.
        """
        if self.source is None:
            return False
        try:
            fetched = await self.source.fetch()
            keys = {kid: key for kid, key in fetched.items() if algorithm_of(key) in self._algorithms}
        except Exception as e:  # whatever a source raises: verification goes on with what is known
            self._fail(e)
            return False
        self._succeed(keys, Revocations(getattr(self.source, "revocations", ())))
        return True

    async def watch(self) -> None:
        """Fetch the keys when they are due, and soon when a token names an unknown key, until cancelled."""
        backoff = self._backoff()
        while True:
            if self.problem is None:
                await self._due()
            self._wanted.clear()
            if await self.refresh():
                backoff.reset()
                await asyncio.sleep(getattr(self.source, "least_interval", MIN_INTERVAL))
            else:
                await asyncio.sleep(backoff.next())

    def _backoff(self) -> Backoff:
        longest = getattr(self.source, "longest_backoff", LONGEST_BACKOFF)
        return Backoff(RETRY_INTERVAL, longest, random.Random())

    async def _due(self) -> None:
        fresh_for = getattr(self.source, "fresh_for", self._refresh_interval)
        interval = fresh_for if self._fetched_at is not None else RETRY_INTERVAL
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), interval)

    def _fail(self, error: Exception) -> None:
        self.fetches["error"] += 1
        # The text of other exceptions may hold secrets of the source.
        known = error if isinstance(error, KeysError) else KeysError(KeyCause.FAILED, type(error).__name__)
        if self.problem is None or str(known) != str(self.problem):
            _log.warning("keys of the token issuer not fetched: %s: %s", self.rules.issuer, known)
        self.problem = known

    def _succeed(self, keys: Mapping[str, PublicKey], revocations: Revocations) -> None:
        self.fetches["success"] += 1
        if self.problem is not None:
            _log.info("keys of the token issuer fetched again: %s", self.rules.issuer)
        self.problem, self._fetched_at = None, self._clock()
        same = keys.keys() == self.keys.keys() and all(keys[kid] == self.keys[kid] for kid in keys)
        if same and revocations == self.revocations:
            return
        self.keys, self.revocations = keys, revocations
        self.on_change(self)
