"""The order in which replicas come and go: pure, so that it can be read and tested without a process."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Add:
    """Start a replica and wait until it is available."""

    number: int


@dataclass(frozen=True)
class Replace:
    """Drain a replica, start it anew, wait until it is available."""

    number: int


@dataclass(frozen=True)
class Remove:
    """Drain a replica for good."""

    number: int


Step = Add | Replace | Remove


def plan_scale(present: Collection[int], wanted: int) -> tuple[list[int], list[int]]:
    """Which numbers to add and which to remove, so that 1..wanted are there.

    Args:
        present: The numbers of the replicas now.
        wanted: How many there are to be.
    """
    target = range(1, wanted + 1)
    return [n for n in target if n not in present], sorted((n for n in present if n > wanted), reverse=True)


def plan_restart(present: Collection[int], ready: Collection[int]) -> list[Step]:
    """A rolling restart that keeps all but one replica in service, and always one.

    What is not ready goes first: it costs nobody anything. A lone replica is stood in for by a
    temporary one, so that callers always have somewhere to go.

    Args:
        present: The numbers of the replicas.
        ready: Those among them that are ready.
    """
    order = sorted(present, key=lambda n: (n in ready, n))
    steps: list[Step] = [Replace(n) for n in order]
    if len(present) == 1:
        extra = max(present) + 1
        return [Add(extra), *steps, Remove(extra)]
    return steps


class Seen(Protocol):
    """What availability is judged by."""

    @property
    def ready_since(self) -> float | None: ...


def unavailable_for(replicas: Iterable[Seen], now: float, min_ready: float) -> float | None:
    """Seconds until the replicas have all been ready for `min_ready` seconds.

    A replica that became ready is known to callers only when they ask DNS again; to take another one out
    before that would leave them with too few. Kubernetes says `minReadySeconds`.

    Returns:
        0 when they have; None while one is not ready, for then nobody knows.
    """
    longest = 0.0
    for replica in replicas:
        if replica.ready_since is None:
            return None
        longest = max(longest, replica.ready_since + min_ready - now)
    return longest
