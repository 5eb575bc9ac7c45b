"""The order in which replicas are started and stopped.

Pure, so that it can be read and tested without a process.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Add:
    """Start a replica and wait until it is available."""

    number: int


@dataclass(frozen=True)
class Replace:
    """Drain a replica, start it again, wait until it is available."""

    number: int


@dataclass(frozen=True)
class Remove:
    """Drain a replica for good."""

    number: int


Step = Add | Replace | Remove


def plan_scale(present: Collection[int], wanted: int) -> tuple[list[int], list[int]]:
    """Return which numbers to add and which to remove, so that 1 to `wanted` are present.

    Args:
        present: The numbers of the present replicas.
        wanted: The number of replicas to have.
    """
    target = range(1, wanted + 1)
    return [n for n in target if n not in present], sorted((n for n in present if n > wanted), reverse=True)


def plan_restart(present: Collection[int], ready: Collection[int]) -> list[Step]:
    """Return the steps of a rolling restart that keeps all but one replica in service, and always at least
    one.

    Replicas that are not ready go first, because nobody uses them. A single replica is replaced temporarily
    by an additional one, so that callers always have an endpoint.

    Args:
        present: The numbers of the replicas.
        ready: The numbers of those that are ready.
    """
    order = sorted(present, key=lambda n: (n in ready, n))
    steps: list[Step] = [Replace(n) for n in order]
    if len(present) == 1:
        extra = max(present) + 1
        return [Add(extra), *steps, Remove(extra)]
    return steps


class Seen(Protocol):
    """The part of a replica that decides about its availability."""

    @property
    def ready_since(self) -> float | None: ...


def unavailable_for(replicas: Iterable[Seen], now: float, min_ready: float) -> float | None:
    """Return the seconds until the replicas have all been ready for `min_ready` seconds.

    Callers learn of a replica that became ready only when they query DNS again; removing another one before
    that would leave them with too few. Kubernetes calls it `minReadySeconds`.

    Returns:
        0 if they have been; None while one is not ready, because then it is unknown.
    """
    longest = 0.0
    for replica in replicas:
        if replica.ready_since is None:
            return None
        longest = max(longest, replica.ready_since + min_ready - now)
    return longest
