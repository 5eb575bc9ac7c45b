"""Hands the newest frame to every viewer. A slow viewer misses frames, and never makes others wait."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

#: The most viewers at a time.
MAX_VIEWERS = 64


class FullError(Exception):
    """There are as many viewers as there may be."""


class Hub:
    """The newest frame, and those who wait for it."""

    def __init__(self) -> None:
        self.frame = b""
        """The newest frame; empty before the first one."""
        self.number = 0
        self.arrived = asyncio.Event()
        """Set when a viewer comes while there was none."""
        self._viewers: set[Viewer] = set()
        self._packed = b""

    @property
    def watched(self) -> bool:
        """Return whether there is a viewer."""
        return bool(self._viewers)

    def publish(self, frame: bytes) -> None:
        """Make a frame the newest one."""
        self.frame = frame
        self.number += 1
        self._packed = b""
        for viewer in self._viewers:
            viewer.news.set()

    @property
    def event(self) -> bytes:
        """Return the newest frame as a server-sent event."""
        return b"id: %d\ndata: %s\n\n" % (self.number, self.frame)

    def packed_event(self, pack: Callable[[bytes], bytes]) -> bytes:
        """Return the same, packed by the first viewer that asks, for all."""
        if not self._packed:
            self._packed = pack(self.event)
        return self._packed

    def viewer(self) -> "Viewer":
        """Return a viewer, for `with`.

        Raises:
            FullError: there are too many already.
        """
        if len(self._viewers) >= MAX_VIEWERS:
            raise FullError
        return Viewer(self, self._viewers)


class Viewer:
    """One page that is open. It has no queue: there is one newest frame for all."""

    def __init__(self, hub: Hub, viewers: "set[Viewer]") -> None:
        self._hub, self._viewers = hub, viewers
        self._seen = 0
        self.news = asyncio.Event()

    def __enter__(self) -> Self:
        if not self._viewers:
            self._hub.arrived.set()
        self._viewers.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._viewers.discard(self)

    async def next(self) -> tuple[int, bytes]:
        """Wait for a frame that this viewer has not had, and return its number and the frame."""
        while self._seen == self._hub.number:
            self.news.clear()
            await self.news.wait()
        self._seen = self._hub.number
        return self._seen, self._hub.frame
