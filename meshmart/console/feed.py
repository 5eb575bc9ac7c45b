"""The feed: the last events. Pure."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

from meshmart.console.frame import Entry
from meshmart.console.model import Event

#: The most entries, and the seconds within which an event that happens again gets no entry of its own.
MOST, AGAIN = 200, 60.0
#: The parts of a text that differ from one time to the next.
_VARYING = re.compile(r"serial .*|\d[\d.,]*")


@dataclass(frozen=True, slots=True)
class _Kept:
    about: tuple[tuple[str, ...], str]
    times: int
    entry: Entry


class Feed:
    """The last events, the oldest first.

    If the same happens again to the same replica, service or edge, its entry moves to the end and says how
    often. So a replica that flaps takes a few entries, and does not push out everything else.
    """

    def __init__(self) -> None:
        self._kept: deque[_Kept] = deque(maxlen=MOST)
        self._count = 0

    def add(self, event: Event, at: float) -> None:
        """Add an event that happened at `at`, in Unix seconds."""
        about, times = (event.about, _VARYING.sub("", event.text)), 1
        before = next((k for k in self._kept if k.about == about and abs(at - k.entry.at) < AGAIN), None)
        if event.about and before:
            self._kept.remove(before)
            times = before.times + 1
            event = replace(event, text=f"{event.text} ({times} times)")
        self._count += 1
        self._kept.append(_Kept(about, times, Entry(self._count, at, event)))

    def __iter__(self) -> Iterator[Entry]:
        return (kept.entry for kept in self._kept)
