"""The decision: again, and after how long? Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

from grpcmesh.call import Method
from grpcmesh.clock import Rng
from grpcmesh.config import ConfigError, RetryConfig
from grpcmesh.retry.budget import RetryBudget
from grpcmesh.status import PUSHBACK_KEY

_IDEMPOTENT = frozenset({MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT})


def is_idempotent(method: Method) -> bool:
    """Whether the proto declares it: `option idempotency_level = NO_SIDE_EFFECTS | IDEMPOTENT`.

    A method whose proto is not loaded counts as not.
    """
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}")
    except KeyError:
        return False
    return descriptor.GetOptions().idempotency_level in _IDEMPOTENT


def pushback_of(trailing: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Server pushback (gRFC A6) in seconds; negative: do not retry; None: the server said nothing."""
    for key, value in trailing:
        if key == PUSHBACK_KEY:
            try:
                return int(value) / 1000
            except (ValueError, OverflowError):
                return -1.0
    return None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt.

    Args:
        attempt: Which one, from 1.
        code: Its status.
        idempotent: Whether the method is declared so.
        unsent: Whether it certainly never left this process.
        pushback: As `pushback_of` says.
        remaining: Seconds to the deadline; None without one.
        patient: Whether the caller waits for an endpoint until its deadline (gRPC's `wait_for_ready`).
    """

    attempt: int
    code: grpc.StatusCode
    idempotent: bool
    unsent: bool = False
    pushback: float | None = None
    remaining: float | None = None
    patient: bool = False


def _code(name: str) -> grpc.StatusCode:
    try:
        return grpc.StatusCode[name]
    except KeyError:
        raise ConfigError([f"retry.codes: {name!r} is no status code"]) from None


class RetryPolicy:
    """Decides on failures of one target, within its budget."""

    def __init__(self, config: RetryConfig, budget: RetryBudget, rng: Rng) -> None:
        self._config, self._budget, self._rng = config, budget, rng
        self._codes = frozenset(map(_code, config.codes))
        self.retries = 0
        #: Retries that everything allowed but the budget.
        self.exhausted = 0

    def again(self, failure: Failure, now: float) -> float | None:
        """Seconds to wait before the next attempt, or None: the failure stands."""
        wait = self._wait(failure)
        if failure.unsent and failure.patient:
            # No server has work with it, so neither the attempts nor the budget bound it: the deadline does.
            return wait if failure.remaining is None else min(wait, failure.remaining)
        if failure.attempt >= self._config.max_attempts or not self._retryable(failure):
            return None
        if failure.remaining is not None and wait >= failure.remaining:
            return None
        if not self._budget.spend(now):
            self.exhausted += 1
            return None
        self.retries += 1
        return wait

    def _retryable(self, failure: Failure) -> bool:
        if failure.pushback is not None and failure.pushback < 0:
            return False
        if failure.unsent:
            return True
        return failure.idempotent and failure.code in self._codes

    def _wait(self, failure: Failure) -> float:
        """Exponential backoff with full jitter.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        if failure.pushback is not None:
            return failure.pushback
        c = self._config
        return self._rng.random() * min(c.max_backoff, c.base_backoff * 2.0 ** min(failure.attempt - 1, 30))
