"""Computes how long to wait before something that failed is tried again. Pure."""

from grpcmesh.clock import Rng


class Backoff:
    """Exponential backoff with equal jitter: half of each wait is fixed, half is drawn.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        first: Upper bound of the first wait, in seconds.
        longest: Upper bound of any wait, in seconds.
        rng: Draws the jitter.
    """

    __slots__ = ("_bound", "_first", "_longest", "_rng")

    def __init__(self, first: float, longest: float, rng: Rng) -> None:
        self._first, self._longest, self._rng = first, longest, rng
        self._bound = first

    def next(self) -> float:
        """Return the seconds to wait now. The bound of the next wait is twice as high, up to the longest."""
        wait = self._bound * (0.5 + self._rng.random() / 2)
        self._bound = min(2 * self._bound, self._longest)
        return wait

    def reset(self) -> None:
        """Start again from the first wait, after a success."""
        self._bound = self._first
