"""The gate of a server: decides whether a call may run, and counts permits, each returned exactly once."""

from collections.abc import Mapping
from dataclasses import dataclass

from grpcmesh.admission.limit import ConcurrencyLimit
from grpcmesh.admission.priority import Priority
from grpcmesh.admission.queue import QueueAdmission

#: The share of the limits that calls of a priority may use. The rest is kept for more important calls.
SHARES: Mapping[Priority, float] = {
    Priority.CRITICAL: 1.0,
    Priority.DEFAULT: 0.9,
    Priority.SHEDDABLE: 0.6,
}

#: Factor by which the places kept for CRITICAL calls shrink at each less important call.
_FORGET = 0.998


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why a call may not run."""

    #: `queue`, `concurrency`, `streams` or `memory`.
    cause: str
    #: Seconds after which the caller may try again.
    retry_after: float


class Gate:
    """Hands out permits.

    Args:
        queue: Admission by age. If None, age is ignored.
        limit: Limit on unary calls that run at once.
        max_streams: Limit on streams that run at once. They have their own, because their duration says
            nothing about queueing.
        max_bytes: Bytes that the messages of all calls may take together, whatever the limits say.
        message_bytes: Bytes of the largest message that a call may send.
    """

    def __init__(
        self,
        queue: QueueAdmission | None,
        limit: ConcurrencyLimit,
        max_streams: int,
        max_bytes: int,
        message_bytes: int,
    ) -> None:
        self.queue, self.limit = queue, limit
        self._max_streams = max_streams
        # A call that runs may hold one message of the largest size.
        self._max_calls = max(1, max_bytes // max(1, message_bytes))
        self.streams = 0
        #: Places that only CRITICAL calls may use, beside `SHARES`. Grows while CRITICAL calls are refused.
        self._reserved = 0.0
        self.refused = dict.fromkeys(("queue", "concurrency", "streams", "memory"), 0)

    def enter(self, priority: Priority, age: float | None, streaming: bool) -> Refusal | None:
        """Take a permit, or return why there is none. Each permit is returned by one `leave`.

        Args:
            priority: Priority of the method.
            age: Seconds that the call has queued in this process; None if unknown.
            streaming: Whether its requests or its responses are a stream.
        """
        refusal = self._refusal(priority, age, streaming)
        if refusal is not None:
            self.refused[refusal.cause] += 1
        elif streaming:
            self.streams += 1
        else:
            self.limit.started()
        return refusal

    def leave(self, method: str, latency: float | None, streaming: bool) -> None:
        """Give a permit back. `latency` is as for `ConcurrencyLimit.ended`."""
        if streaming:
            self.streams -= 1
        else:
            self.limit.ended(method, latency)

    def _refusal(self, priority: Priority, age: float | None, streaming: bool) -> Refusal | None:
        share = SHARES[priority]
        if self.streams + self.limit.in_flight >= self._max_calls * share:
            return Refusal("memory", 1.0)
        if streaming:
            # Its start queues as every call does; how long it runs says nothing, and is not limited.
            if self.streams >= self._max_streams * share:
                return Refusal("streams", 1.0)
        elif self.limit.in_flight >= self._places(priority, share):
            return Refusal("concurrency", 0.1)
        if self.queue is not None and not self.queue.admit(priority, age):
            return Refusal("queue", min(1.0, max(0.1, 2 * self.queue.age)))
        return None

    def _places(self, priority: Priority, share: float) -> float:
        """Return how many calls may run at once as far as a call of this priority is concerned."""
        limit = self.limit.limit
        if priority is not Priority.CRITICAL:
            self._reserved *= _FORGET
            return min(limit * share, limit - self._reserved)
        if self.limit.in_flight >= limit:
            self._reserved = min(limit - 1, self._reserved + 1)
        return limit
