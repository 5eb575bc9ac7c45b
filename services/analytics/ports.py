"""What the use cases need: a place for figures. Each method is one transaction."""

from collections.abc import Sequence
from typing import Protocol

from services.analytics.domain import Dashboard, Event, Metric


class Store(Protocol):
    """Where figures are."""

    async def record(self, events: Sequence[Event]) -> int:
        """Counts those that have not been counted; how many they were."""
        ...

    async def series(self, name: str, start: int, end: int, limit: int) -> Sequence[Metric]:
        """A metric's figures of the minutes in [start, end), in their order."""
        ...

    async def dashboard(self, start: int, end: int, top: int) -> Dashboard:
        """Sums over the minutes in [start, end)."""
        ...

    async def since(self, names: Sequence[str], cursor: int, limit: int) -> Sequence[Metric]:
        """Figures that changed after a cursor, in the order of their last changes."""
        ...

    async def version(self) -> int:
        """The cursor of the last change."""
        ...

    async def forget(self, before: float) -> None:
        """Drops what is older than that (Unix seconds)."""
        ...
