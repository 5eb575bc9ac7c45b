"""The service config: the settings read, and the report of every mistake with its place."""

import json
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.config import ConfigError
from grpcmesh.service_config import (
    CircuitBreaker,
    FailurePercentageEjection,
    HealthCheck,
    HedgingPolicy,
    OutlierDetection,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
    SuccessRateEjection,
    parse,
)
from grpcmesh.service_config.parse import from_json

RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "aborted", 8],
}


def problems(config: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_json(config)
    return caught.value.problems


def test_the_example_of_grfc_a6_is_read() -> None:
    config = parse(json.dumps({"methodConfig": [{"name": [{"service": "a.B"}], "retryPolicy": RETRY}]}))
    method = config.method("a.B", "C")
    assert method is not None
    codes = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert method.retry_policy == RetryPolicy(4, 0.1, 1.0, 2.0, frozenset(codes))


def test_everything_else_is_read() -> None:
    config = from_json(
        {
            "loadBalancingConfig": [
                {"of_tomorrow": {"what": 1}},
                {
                    "outlier_detection_experimental": {
                        "interval": "5s",
                        "maxEjectionPercent": 50,
                        "successRateEjection": {"stdevFactor": 1000},
                        "failurePercentageEjection": {},
                        "consecutiveFailures": 5,
                        "stallTime": "0.5s",
                        "childPolicy": [
                            {
                                "random_subsetting_experimental": {
                                    "subsetSize": 20,
                                    "childPolicy": [{"least_request": {"choiceCount": 3}}],
                                }
                            }
                        ],
                    }
                },
                {"round_robin": {}},
            ],
            "methodConfig": [
                {"name": [{}], "timeout": "1.5s", "waitForReady": True, "maxResponseMessageBytes": "65536"},
                {
                    "name": [{"service": "a.B", "method": "C"}],
                    "hedgingPolicy": {"maxAttempts": 9, "hedgingDelay": "0s", "hedgingDelayPercentile": 95},
                },
            ],
            "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.5466},
            "healthCheckConfig": {"serviceName": "a.B"},
            "circuitBreaker": {"maxConcurrentRequests": 10},
        }
    )
    balancing = config.load_balancing
    assert balancing is not None
    assert (balancing.policy, balancing.subset_size) == ("least_request", 20)
    assert balancing.parameters == {"choice_count": 3}
    assert balancing.outlier_detection == OutlierDetection(
        interval=5,
        max_ejection_percent=50,
        success_rate_ejection=SuccessRateEjection(stdev_factor=1000),
        failure_percentage_ejection=FailurePercentageEjection(),
        consecutive_failures=5,
        stall_time=0.5,
    )
    every, one = config.method("x.Y", "Z"), config.method("a.B", "C")
    assert every is not None
    assert (every.timeout, every.wait_for_ready, every.max_response_message_bytes) == (1.5, True, 65536)
    assert one is not None
    assert one.hedging_policy == HedgingPolicy(5, 0.0, 95.0)
    assert config.retry_throttling == RetryThrottling(10, 0.546)
    assert config.health_check == HealthCheck("a.B")
    assert config.circuit_breaker == CircuitBreaker(max_concurrent_requests=10)


def test_the_most_specific_settings_of_a_method_hold() -> None:
    def named(seconds: int, **name: str) -> dict[str, Any]:
        return {"name": [name], "timeout": f"{seconds}s"}

    config = from_json(
        {"methodConfig": [named(1), named(2, service="a.B"), named(3, service="a.B", method="C")]}
    )
    timeouts = {
        path: method.timeout
        for path in ("a.B/C", "a.B/D", "a.E/C")
        if (method := config.method(*path.split("/"))) is not None
    }
    assert timeouts == {"a.B/C": 3, "a.B/D": 2, "a.E/C": 1}


def test_an_empty_config_sets_nothing() -> None:
    assert parse("{}") == ServiceConfig()
    assert ServiceConfig().method("a.B", "C") is None


def test_every_mistake_is_told_at_once_with_its_place() -> None:
    told = problems(
        {
            "timeout": "1s",
            "methodConfig": [
                {"name": [{"method": "C"}], "timeout": 3},
                {
                    "name": [{"service": "a.B"}, {"service": "a.B"}],
                    "retryPolicy": {**RETRY, "maxAttempts": 1},
                },
            ],
            "retryThrottling": {"maxTokens": 0},
        }
    )
    assert told == [
        "methodConfig[0].name[0].method: has no service beside it",
        'methodConfig[0].timeout: must be a duration such as "1.5s", is 3',
        "methodConfig[1].retryPolicy.maxAttempts: must be at least 2, is 1",
        "methodConfig[1].name: a.B has its settings in methodConfig[1] already",
        "retryThrottling.tokenRatio: is missing",
        "retryThrottling.maxTokens: must be from 1 to 1000, is 0",
        "timeout: no such setting",
    ]


def test_what_stands_twice_is_told_with_its_place_and_hides_nothing() -> None:
    text = """{"methodConfig": [{"name": [{}], "timeout": "1s", "timeout": "2s", "timout": "3s"}],
               "circuitBreaker": {"maxPendingRequests": 1, "maxPendingRequests": -1},
               "circuitBreaker": {"maxConcurrentRequests": "x", "maxConcurrentRequests": 2}}"""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.problems == [
        "circuitBreaker: stands twice",
        "methodConfig[0].timeout: stands twice",
        "methodConfig[0].timout: no such setting",
        "circuitBreaker.maxConcurrentRequests: stands twice",
    ]


def test_an_object_that_is_none_is_one_mistake() -> None:
    config = {"methodConfig": [{"name": [{}], "retryPolicy": []}], "retryThrottling": None}
    assert problems(config) == [
        "methodConfig[0].retryPolicy: must be an object, is []",
        "retryThrottling: must be an object, is null",
    ]


def test_numbers_may_be_strings_as_proto3_has_them() -> None:
    """Numbers and strings are both accepted (https://protobuf.dev/programming-guides/json/)."""
    retry = {**RETRY, "maxAttempts": "3", "backoffMultiplier": "1.5e0"}
    text = {"methodConfig": [{"name": [{}], "retryPolicy": retry}]}
    read = from_json(text).method_configs[0].retry_policy
    assert read is not None
    assert (read.max_attempts, read.backoff_multiplier) == (3, 1.5)


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), "1" * 400, "1e999", "NaN", "Infinity", "", " 1", "0x1"]
)
def test_a_number_that_none_can_calculate_with_is_a_mistake(value: Any) -> None:
    told = problems({"retryThrottling": {"maxTokens": value, "tokenRatio": value}})
    assert [problem.split(":")[0] for problem in told] == [
        "retryThrottling.tokenRatio",
        "retryThrottling.maxTokens",
    ]
    assert all(len(problem) < 150 for problem in told)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ([], "service config: must be an object, is []"),
        ({"methodConfig": {}}, "methodConfig: must be a list, is {}"),
        ({"methodConfig": [{"name": [{}], "timeout": "1"}]}, "methodConfig[0].timeout: must be a duration"),
        ({"methodConfig": [{"name": [{}], "timeout": "0s"}]}, "methodConfig[0].timeout: must be above zero"),
        ({"methodConfig": [{"name": [{}], "timeout": "-1s"}]}, "methodConfig[0].timeout: must be a duration"),
        ({"methodConfig": [{"timeout": "1s"}]}, "methodConfig[0].name: is missing"),
        (
            {"methodConfig": [{"name": [{"service": "a.B/C"}]}]},
            "methodConfig[0].name[0]: 'a.B/C' has a slash",
        ),
        (
            {"methodConfig": [{"name": [{}], "retryPolicy": RETRY, "hedgingPolicy": {"maxAttempts": 2}}]},
            "methodConfig[0].hedgingPolicy: a method has either",
        ),
        (
            {"methodConfig": [{"name": [{}], "retryPolicy": {**RETRY, "retryableStatusCodes": []}}]},
            "methodConfig[0].retryPolicy.retryableStatusCodes: must name a status code",
        ),
        (
            {"methodConfig": [{"name": [{}], "retryPolicy": {**RETRY, "retryableStatusCodes": ["LATE"]}}]},
            "must be a status code, is 'LATE'",
        ),
        (
            {"methodConfig": [{"name": [{}], "retryPolicy": {**RETRY, "retryableStatusCodes": ["OK"]}}]},
            "methodConfig[0].retryPolicy.retryableStatusCodes: must not name OK",
        ),
        (
            {
                "methodConfig": [
                    {"name": [{}], "hedgingPolicy": {"maxAttempts": 2, "nonFatalStatusCodes": [0]}}
                ]
            },
            "methodConfig[0].hedgingPolicy.nonFatalStatusCodes: must not name OK",
        ),
        ({"circuitBreaker": {"maxPendingRequests": "-1"}}, "maxPendingRequests: must be from 0 to"),
        ({"loadBalancingConfig": []}, "loadBalancingConfig: names none of round_robin"),
        ({"loadBalancingConfig": [{"grpclb": {}}]}, "'grpclb' is not known"),
        (
            {"loadBalancingConfig": [{"a": {}, "b": {}}]},
            "loadBalancingConfig[0]: must name one policy, names 2",
        ),
        (
            {"loadBalancingConfig": [{"round_robin": {"sticky": True}}]},
            "loadBalancingConfig[0].round_robin.sticky: no such setting",
        ),
        (
            {"loadBalancingConfig": [{"ring_hash": {"requestHashHeader": "user-bin"}}]},
            "requestHashHeader: must not be a binary header",
        ),
        (
            {"loadBalancingConfig": [{"ring_hash": {"minRingSize": 9, "maxRingSize": 8}}]},
            "ring_hash.minRingSize: must not be above maxRingSize",
        ),
        (
            {"loadBalancingConfig": [{"outlier_detection_experimental": {}}]},
            "outlier_detection_experimental.childPolicy: is missing",
        ),
        ({"loadBalancingPolicy": "pick_last"}, "loadBalancingPolicy: 'pick_last' is none of"),
        ({"retryThrottling": {"maxTokens": 1, "tokenRatio": 0.0001}}, "tokenRatio: must be at least 0.001"),
        ({"retryThrottling": {"maxTokens": True, "tokenRatio": 1}}, "maxTokens: must be a whole number"),
        ({"circuitBreaker": {"maxConcurrentRequests": -1}}, "maxConcurrentRequests: must be from 0"),
    ],
)
def test_a_mistake_is_told_with_its_place(config: Any, told: str) -> None:
    assert any(told in problem for problem in problems(config)), problems(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not JSON"),
        ('{"a": 1, "a": 2}', "a: stands twice"),
        ('{"methodConfig": [{"name": [{}], "timeout": NaN}]}', "NaN is not a JSON number"),
        ("[" * 100_000, "not JSON"),
        ('{"x": "' + "y" * (1 << 20) + '"}', "larger than"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_text_that_is_no_config_is_told(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(text)


def test_a_nest_of_child_policies_without_end_is_a_mistake() -> None:
    config: dict[str, Any] = {"round_robin": {}}
    for _ in range(5000):
        config = {"random_subsetting_experimental": {"subsetSize": 1, "childPolicy": [config]}}
    assert problems({"loadBalancingConfig": [config]}) == ["service config: nested too deeply"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["methodConfig", "name", "timeout", "retryPolicy", "hedgingPolicy", "loadBalancingConfig", "ring_hash"]
)


@given(st.dictionaries(_KEYS, _JSON) | _JSON)
def test_anything_is_read_or_refused_with_a_config_error(value: Any) -> None:
    try:
        assert isinstance(from_json(value), ServiceConfig)
    except ConfigError as e:
        told = e.problems
    else:
        return
    assert told
    assert all("\n" not in problem for problem in told)
