"""Renews what the command has disturbed, until it is mended.

A scene makes a replica hang, or runs more replicas for a while. Whoever does that for it (a replica's fault
service, the embedded cluster's supervisor, the toolbox) gives it a lease, and undoes it when nobody renews
the lease. So nothing outlives a command that was killed, a laptop that was closed, or a pod that has gone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Self

from local.errors import ClusterError
from local.events import Report

#: Seconds after which a disturbance ends that nobody renews, and between two renewals.
LEASE, RENEWAL = 30.0, 10.0

Renew = Callable[[], Awaitable[None]]


class Leases:
    """The leases that this process holds.

    Args:
        report: Told of a lease that cannot be renewed.
        every: Seconds between two renewals.
    """

    def __init__(self, report: Report, every: float = RENEWAL) -> None:
        self._report, self._every = report, every
        self._held: dict[Hashable, Renew] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Renews no more: what is still disturbed is mended when its lease ends."""
        self._held.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def hold(self, what: Hashable, renew: Renew) -> None:
        """Renews a lease from now on; the caller has just taken it.

        Args:
            what: Names it, for `drop`.
            renew: Renews it once; a ClusterError is told and tried again.
        """
        self._held[what] = renew
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="leases")

    def drop(self, what: Hashable) -> None:
        """Renews it no more."""
        self._held.pop(what, None)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            # At once: one that cannot be reached must not cost the others their lease.
            await asyncio.gather(*(self._renew(what, renew) for what, renew in self._held.items()))

    async def _renew(self, what: Hashable, renew: Renew) -> None:
        try:
            async with asyncio.timeout(self._every):
                await renew()
        except (ClusterError, TimeoutError) as e:
            self._report(f"the lease of {what} could not be renewed: {e}")
