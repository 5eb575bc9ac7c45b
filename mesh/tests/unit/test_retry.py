"""Which failures are retried, when, and how many in all."""

import random

import grpc
import pytest

from grpcmesh.call import Kind, Method
from grpcmesh.config import ConfigError, RetryConfig
from grpcmesh.retry import (
    Failure,
    RetryBudget,
    RetryPolicy,
    Throttle,
    is_idempotent,
    pushback_of,
    settings_of,
)
from grpcmesh.service_config import RetryThrottling
from grpcmesh.testing import ping_pb2

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
CONFIG = RetryConfig(max_attempts=4, base_backoff=0.1, max_backoff=0.3, budget_ratio=0.2, budget_floor=10)


def policy(config: RetryConfig = CONFIG) -> RetryPolicy:
    return RetryPolicy(settings_of(config), RetryBudget(config), random.Random(1))


def failure(
    attempt: int = 1,
    code: grpc.StatusCode = UNAVAILABLE,
    *,
    idempotent: bool = True,
    unsent: bool = False,
    pushback: float | None = None,
    remaining: float | None = None,
) -> Failure:
    return Failure(attempt, code, idempotent, unsent, pushback, remaining)


def test_the_proto_says_what_is_idempotent() -> None:
    assert ping_pb2.DESCRIPTOR.package == "mesh.testing"
    assert is_idempotent(Method.parse("/mesh.testing.PingService/Ping", Kind.UNARY))
    assert not is_idempotent(Method.parse("/mesh.testing.PingService/Poke", Kind.UNARY))
    assert not is_idempotent(Method.parse("/unknown.Service/Method", Kind.UNARY))


def test_an_idempotent_call_with_a_retryable_code_is_retried() -> None:
    assert policy().again(failure(), 0.0) is not None


@pytest.mark.parametrize(
    "final",
    [
        failure(idempotent=False),
        failure(code=grpc.StatusCode.NOT_FOUND),
        failure(code=grpc.StatusCode.DEADLINE_EXCEEDED),
        failure(attempt=4),
        failure(pushback=-1.0),
        failure(pushback=2.0, remaining=1.0),
        failure(remaining=0.0),
    ],
)
def test_other_failures_stand(final: Failure) -> None:
    assert policy().again(final, 0.0) is None


def test_a_call_that_waits_for_an_endpoint_is_bounded_by_its_deadline_alone() -> None:
    waiting = Failure(50, UNAVAILABLE, idempotent=False, unsent=True, patient=True)
    assert policy().again(waiting, 0.0) is not None
    late = Failure(50, UNAVAILABLE, idempotent=False, unsent=True, patient=True, remaining=0.001)
    assert (policy().again(late, 0.0) or 0.0) <= 0.001
    seen = Failure(50, UNAVAILABLE, idempotent=True, patient=True)
    assert policy().again(seen, 0.0) is None


def test_a_call_that_was_never_sent_is_retried_even_if_not_idempotent() -> None:
    assert policy().again(failure(idempotent=False, unsent=True), 0.0) is not None


def test_one_attempt_means_no_retries() -> None:
    assert policy(RetryConfig(max_attempts=1)).again(failure(), 0.0) is None


def test_the_wait_is_anywhere_below_an_exponential_bound() -> None:
    tested = policy(RetryConfig(max_attempts=10, base_backoff=0.1, max_backoff=0.3, budget_floor=1e6))
    for attempt, bound in [(1, 0.1), (2, 0.2), (3, 0.3), (9, 0.3)]:
        waits = [tested.again(failure(attempt), 0.0) or 0.0 for _ in range(500)]
        assert max(waits) <= bound
        assert max(waits) > bound * 0.95
        assert min(waits) < bound * 0.05


def test_pushback_is_waited_for_exactly() -> None:
    assert policy().again(failure(pushback=0.75), 0.0) == 0.75


def test_attempts_that_a_server_pushed_back_are_counted() -> None:
    budget = RetryBudget(RetryConfig())
    rules = RetryPolicy(settings_of(RetryConfig()), budget, random.Random(1))
    for code, pushback in (("UNAVAILABLE", 0.5), ("UNAVAILABLE", None), ("OK", None), ("ABORTED", -1.0)):
        rules.ended(grpc.StatusCode[code], pushback)
    assert budget.pushbacks == 2


def test_pushback_is_read_from_trailing_metadata() -> None:
    assert pushback_of([("x", "y")]) is None
    assert pushback_of([("grpc-retry-pushback-ms", "250")]) == 0.25
    assert pushback_of([("grpc-retry-pushback-ms", "-1")]) == -0.001
    assert pushback_of([("grpc-retry-pushback-ms", "soon")]) == -1.0


def test_an_unknown_code_in_the_configuration_is_told() -> None:
    with pytest.raises(ConfigError, match="'SOMETIMES' is not the name of a gRPC status code"):
        policy(RetryConfig(codes=("SOMETIMES",)))


def test_the_floor_is_there_without_traffic() -> None:
    tested = RetryBudget(RetryConfig(budget_floor=1.0))
    assert [tested.spend(0.0) for _ in range(11)] == [True] * 10 + [False]


def test_retries_stay_a_share_of_calls_when_everything_fails() -> None:
    tested = policy()
    calls = retries = 0
    for tick in range(600):
        now = tick / 10
        for _ in range(100):
            calls += 1
            tested._budget.called(now)
            if tested.again(failure(), now) is not None:
                retries += 1
    assert 0.19 <= retries / calls <= 0.2
    assert tested._budget.retries == retries
    assert tested._budget.exhausted == calls - retries


def test_the_budget_comes_back_with_time() -> None:
    tested = RetryBudget(RetryConfig(budget_floor=1.0))
    while tested.spend(0.0):
        pass
    assert not tested.spend(9.5)
    assert tested.spend(10.0)
    while tested.spend(10.0):
        pass
    assert tested.spend(1000.0)


def test_without_a_budget_nothing_is_retried() -> None:
    tested = policy(RetryConfig(budget_ratio=0.0, budget_floor=0.0))
    assert tested.again(failure(), 0.0) is None
    assert tested._budget.exhausted == 1


def test_a_budget_shows_what_is_left() -> None:
    tested = RetryBudget(RetryConfig())
    tested.spend(0.0)
    assert repr(tested) == "<RetryBudget 1 of 100 in 10 s>"


def test_what_a_budget_has_spent_is_forgotten_after_ten_seconds() -> None:
    tested = RetryBudget(RetryConfig())
    assert [tested.spend(0.0), tested.spend(5.0)] == [True, True]
    assert [tested.spent(now) for now in (5.0, 9.9, 10.0, 15.0)] == [2, 2, 1, 0]


def test_an_attempt_that_took_too_long_is_retried_whatever_its_code() -> None:
    late = Failure(1, grpc.StatusCode.DEADLINE_EXCEEDED, idempotent=True, late=True)
    assert policy().again(late, 0.0) is not None
    unsafe = Failure(1, grpc.StatusCode.DEADLINE_EXCEEDED, idempotent=False, late=True)
    assert policy().again(unsafe, 0.0) is None


def test_throttling_stops_retries_at_half_of_the_tokens_and_successes_bring_them_back() -> None:
    tested = policy()
    throttle = tested._budget.throttle = Throttle(RetryThrottling(10, 0.5))
    for _ in range(4):
        tested.ended(UNAVAILABLE, None)
    assert tested.again(failure(), 0.0) is not None
    tested.ended(UNAVAILABLE, None)
    assert (tested.again(failure(), 0.0), tested._budget.exhausted) == (None, 1)
    tested.ended(grpc.StatusCode.NOT_FOUND, None)
    tested.ended(grpc.StatusCode.NOT_FOUND, -1.0)
    for _ in range(3):
        tested.ended(grpc.StatusCode.OK, None)
    assert tested.again(failure(), 0.0) is not None
    assert throttle.tokens == 5.5
