"""The types of clocks and random generators, which are parameters so that pure logic runs in virtual time."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock, in seconds."""

    def __call__(self) -> float: ...


class Rng(Protocol):
    """A random generator with the two methods that the mesh uses. `random.Random` has them."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


monotonic: Clock = time.monotonic


def system_rng() -> random.Random:
    """Return a new random generator, seeded by the operating system. Do not use it for secrets."""
    return random.Random()
