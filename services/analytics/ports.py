"""The port of the use cases: storage for figures. Each method is one transaction."""

from collections.abc import Sequence
from typing import Protocol

from services.analytics.domain import Dashboard, Event, Metric


class Store(Protocol):
    """Port: stores figures."""

    async def record(self, events: Sequence[Event]) -> int:
        """Count the events that have not been counted. Return how many that were."""
        ...

    async def series(self, name: str, start: int, end: int, limit: int) -> Sequence[Metric]:
        """Return at most `limit` figures of a metric, of the minutes in [start, end), in order."""
        ...

    async def dashboard(self, start: int, end: int, top: int) -> Dashboard:
        """Return sums over the minutes in [start, end), with the `top` products."""
        ...

    async def since(self, names: Sequence[str], cursor: int, limit: int) -> Sequence[Metric]:
        """Return at most `limit` figures that changed after a cursor, in the order of their last changes."""
        ...

    async def version(self) -> int:
        """Return the cursor of the last change."""
        ...

    async def forget(self, before: float) -> None:
        """Delete what is older than the Unix time `before`."""
        ...
