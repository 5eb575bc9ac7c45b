"""The caller's side of admission: a caller sends little more than its target accepts.

A refusal costs a server about half a millisecond of CPU, most of it in gRPC. If a call costs four, a server
that gets five times its capacity would spend half of it on refusals, however well it chooses. So the caller
itself refuses calls that the server would probably refuse. This is client-side throttling, from chapter 21 of
Beyer et al., "Site Reliability Engineering" (https://sre.google/sre-book/handling-overload/).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.call import Attempt, AttemptLayer
from grpcmesh.clock import Clock, Rng
from grpcmesh.errors import ResourceExhausted
from grpcmesh.status import REFUSED_KEY

#: Time constant in seconds: after it, a call counts 1/e (about a third) of a new one.
MEMORY = 0.5
#: A method whose faded count of refusals is below this is no longer throttled.
_FEW = 0.1
#: The largest share of calls that is not sent. The calls that are sent show when the overload is over. With
#: fewer of them, a method whose calls were all refused for a moment would recover slowly.
_MOST = 0.9
#: The most methods that are tracked; others are not throttled.
_MAX_METHODS = 256


@dataclass(slots=True)
class _Counts:
    """Counts of the calls of one method. They fade with time."""

    #: Calls that were made, calls that the server refused, and calls that it accepted.
    asked: float = 0.0
    refused: float = 0.0
    taken: float = 0.0
    at: float = 0.0

    def fade(self, now: float) -> None:
        left, self.at = math.exp((self.at - now) / MEMORY), now
        self.asked *= left
        self.refused *= left
        self.taken *= left


class CallerThrottle(AttemptLayer):
    """Refuses calls of a method about as often as the admission of its servers does.

    Only refusals that a server's admission has marked count, because an application may use
    RESOURCE_EXHAUSTED for a single user. Counts are kept by method because priorities are set by method:
    critical calls that are accepted are not held back when others are refused.

    Args:
        target: Short name of the target, for messages.
        ratio: Calls that are sent for each one accepted, above 1. The excess shows when the overload is over.
            0 switches the throttle off.
        clock: Monotonic seconds.
        rng: Draws which calls are refused.
    """

    def __init__(self, target: str, ratio: float, clock: Clock, rng: Rng) -> None:
        self._target, self._ratio, self._clock, self._rng = target, ratio, clock, rng
        #: Counts of the methods with recent refusals; usually none.
        self._methods: dict[str, _Counts] = {}
        #: Calls that were not sent.
        self.refused = 0

    def on_start(self, attempt: Attempt) -> None:
        """Decide whether the attempt is sent. Raises ResourceExhausted if it is not."""
        if not self._methods:
            return
        method = attempt.call.method.path
        counts = self._methods.get(method)
        if counts is None:
            return
        counts.fade(self._clock())
        if counts.refused < _FEW:
            del self._methods[method]
            return
        counts.asked += 1
        beyond = (counts.asked - self._ratio * counts.taken) / (counts.asked + 1)
        if self._rng.random() < min(_MOST, beyond):
            self.refused += 1
            raise ResourceExhausted(
                f"{self._target} is overloaded and refuses calls of {attempt.call.method.full_name}; this one"
                " was not sent",
                retry_after=2 * MEMORY,
            )

    def on_end(self, attempt: Attempt) -> None:
        refused = attempt.code is grpc.StatusCode.RESOURCE_EXHAUSTED and _by_admission(attempt)
        if not refused and not self._methods:
            return
        counts = self._methods.get(attempt.call.method.path)
        if counts is None:
            if not refused or not self._ratio or len(self._methods) >= _MAX_METHODS:
                return
            counts = self._methods[attempt.call.method.path] = _Counts(asked=1.0, at=self._clock())
        counts.fade(self._clock())
        if refused:
            counts.refused += 1
        else:
            counts.taken += 1

    def metrics(self, target: str) -> Iterable[Metric]:
        told = "Calls that were not sent, as the target's admission refuses such calls."
        family = CounterMetricFamily("mesh_calls_throttled", told, labels=["target"])
        family.add_metric([target], self.refused)
        yield family


def _by_admission(attempt: Attempt) -> bool:
    return any(key == REFUSED_KEY for key, _ in attempt.trailing_metadata())
