"""Decides whether a failed attempt is retried, and after how long. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

from grpcmesh.bad_values import bad_values
from grpcmesh.call import Method
from grpcmesh.clock import Rng
from grpcmesh.config import ConfigError, RetryConfig
from grpcmesh.retry.budget import RetryBudget
from grpcmesh.service_config import RetryPolicy as RetrySettings
from grpcmesh.status import PUSHBACK_KEY

_MILLISECONDS = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_NO_SIDE_EFFECTS = frozenset({MethodOptions.NO_SIDE_EFFECTS})
_IDEMPOTENT = frozenset({MethodOptions.NO_SIDE_EFFECTS, MethodOptions.IDEMPOTENT})


def is_idempotent(method: Method) -> bool:
    """Return whether the proto declares the method idempotent.

    It does with `option idempotency_level = NO_SIDE_EFFECTS` or `IDEMPOTENT`. A method whose proto is not
    loaded counts as not idempotent.
    """
    return _declared(method, _IDEMPOTENT)


def has_no_side_effects(method: Method) -> bool:
    """Return whether the proto declares `option idempotency_level = NO_SIDE_EFFECTS`."""
    return _declared(method, _NO_SIDE_EFFECTS)


def _declared(method: Method, levels: frozenset[Any]) -> bool:
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(f"{method.service}.{method.name}")
    except KeyError:
        return False
    return descriptor.GetOptions().idempotency_level in levels


def pushback_of(trailing: Iterable[tuple[str, str | bytes]]) -> float | None:
    """Return the server's pushback (gRFC A6) in seconds, or None if it sent none.

    A negative value means not to retry. A malformed value (no 32-bit decimal number) is counted, and also
    means not to retry.
    """
    for key, value in trailing:
        if key == PUSHBACK_KEY:
            text = value if isinstance(value, str) else ""
            if _MILLISECONDS.fullmatch(text) and int(text) < 2**31:
                return int(text) / 1000
            bad_values.count("pushback")
            return -1.0
    return None


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt.

    Args:
        attempt: Number of the attempt, from 1.
        code: Its status code.
        idempotent: Whether the method is idempotent.
        unsent: Whether certainly no server has seen the attempt.
        pushback: The server's pushback, as from `pushback_of`.
        remaining: Seconds until the deadline; None without one.
        patient: Whether the caller waits for an endpoint until its deadline (gRPC's `wait_for_ready`).
        late: Whether the attempt ran into its own timeout (`perAttemptRecvTimeout`).
    """

    attempt: int
    code: grpc.StatusCode
    idempotent: bool
    unsent: bool = False
    pushback: float | None = None
    remaining: float | None = None
    patient: bool = False
    late: bool = False


def _code(name: str) -> grpc.StatusCode:
    try:
        return grpc.StatusCode[name]
    except KeyError:
        raise ConfigError([f"retry.codes: {name!r} is not the name of a gRPC status code"]) from None


def settings_of(config: RetryConfig) -> RetrySettings:
    """Return the settings for methods without their own, from the configuration of the process.

    Raises:
        ConfigError: A code is unknown.
    """
    codes = frozenset(map(_code, config.codes))
    return RetrySettings(config.max_attempts, config.base_backoff, config.max_backoff, 2.0, codes)


class RetryPolicy:
    """Decides on retries of one method, within the budget of its target.

    Args:
        settings: Retry settings of the method.
        budget: Budget of the target.
        rng: Draws the jitter.
    """

    def __init__(self, settings: RetrySettings, budget: RetryBudget, rng: Rng) -> None:
        self.settings, self._budget, self._rng = settings, budget, rng

    def again(self, failure: Failure, now: float) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is none."""
        wait = self._wait(failure)
        if failure.unsent and failure.patient:
            # No server has work with it, so neither the attempts nor the budget bound it: the deadline does.
            return wait if failure.remaining is None else min(wait, failure.remaining)
        if failure.attempt >= self.settings.max_attempts or not self._retryable(failure):
            return None
        if failure.remaining is not None and wait >= failure.remaining:
            return None
        return wait if self._budget.take(now) else None

    def hedge(self, now: float) -> bool:
        """Take one hedge out of the budget, which retries and hedges share."""
        taken = self._budget.take(now)
        self._budget.hedges += taken
        return taken

    def ended(self, code: grpc.StatusCode, pushback: float | None) -> None:
        """Note the end of an attempt, for gRFC A6's throttling, and count a server's pushback."""
        self._budget.pushbacks += pushback is not None
        throttle = self._budget.throttle
        if throttle is None:
            return
        if code is grpc.StatusCode.OK:
            throttle.succeeded()
        elif code in self.settings.retryable_status_codes or (pushback is not None and pushback < 0):
            throttle.failed()

    def _retryable(self, failure: Failure) -> bool:
        if failure.pushback is not None and failure.pushback < 0:
            return False
        if failure.unsent:
            return True
        retryable = failure.late or failure.code in self.settings.retryable_status_codes
        return failure.idempotent and retryable

    def _wait(self, failure: Failure) -> float:
        """Return the seconds to wait: the pushback, or exponential backoff with full jitter.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        if failure.pushback is not None:
            return failure.pushback
        s = self.settings
        growth = s.backoff_multiplier ** min(failure.attempt - 1, 30)
        return self._rng.random() * min(s.max_backoff, s.initial_backoff * growth)
