"""Renews the leases of disturbances that the command has made, until they are undone.

A scene makes a replica hang, or runs more replicas for a while. The component that does that for it (a
replica's fault service, the embedded cluster's supervisor, the toolbox) gives it a lease, and undoes it when
nobody renews the lease. So no disturbance outlives a command that was killed, a laptop that was closed, or a
pod that ended.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Self

from local.errors import ClusterError, LeaseEndedError
from local.events import Report

#: Seconds after which a disturbance ends that nobody renews, and seconds between two renewals.
LEASE, RENEWAL = 30.0, 10.0

Renew = Callable[[], Awaitable[None]]


async def _ignore(_: Hashable) -> None:
    """Do nothing. By default nobody needs to know that a lease has ended."""


class Leases:
    """The leases that this process holds.

    Args:
        report: Called with a line about a lease that cannot be renewed.
        every: Seconds between two renewals.
    """

    def __init__(self, report: Report, every: float = RENEWAL) -> None:
        self._report, self._every = report, every
        self._held: dict[Hashable, Renew] = {}
        self._failing: set[Hashable] = set()
        self.ended: Callable[[Hashable], Awaitable[None]] = _ignore
        """Called with each lease that somebody else has ended. It is not renewed any more."""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop renewing: a disturbance that is still held is undone when its lease ends."""
        self._held.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def hold(self, what: Hashable, renew: Renew) -> None:
        """Renew a lease from now on. The caller has just taken it.

        Args:
            what: Names the lease, for `drop`.
            renew: Renews it once. A LeaseEndedError ends it. Another error is reported, once until a renewal
                succeeds, and the renewal is tried again.
        """
        self._held[what] = renew
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="leases")

    def drop(self, what: Hashable) -> None:
        """Stop renewing a lease."""
        self._held.pop(what, None)
        self._failing.discard(what)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            # Concurrently: a replica that cannot be reached must not cost the others their lease.
            await asyncio.gather(*(self._renew(what, renew) for what, renew in self._held.items()))

    async def _renew(self, what: Hashable, renew: Renew) -> None:
        try:
            await self._try(what, renew)
        except Exception as e:  # whatever it is, it must not cost the others their leases
            expected = isinstance(e, ClusterError | TimeoutError)
            if what in self._failing or (expected and what not in self._held):
                return
            self._failing.add(what)
            problem = e if expected else repr(e)
            self._report(f"the lease of {what} could not be renewed: {problem}")

    async def _try(self, what: Hashable, renew: Renew) -> None:
        try:
            async with asyncio.timeout(self._every):
                await renew()
            self._failing.discard(what)
        except LeaseEndedError as e:
            if self._held.get(what) is renew:  # it was not dropped or taken again meanwhile
                self.drop(what)
                self._report(f"the lease of {what} has ended: {e}")
                await self.ended(what)
