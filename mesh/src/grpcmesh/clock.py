"""Time and chance as parameters, so that pure logic runs in virtual time."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock, in seconds."""

    def __call__(self) -> float: ...


class Rng(Protocol):
    """The two draws that the mesh's algorithms need; `random.Random` has them."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


monotonic: Clock = time.monotonic


def system_rng() -> random.Random:
    """A fresh generator seeded by the operating system (not for secrets)."""
    return random.Random()
