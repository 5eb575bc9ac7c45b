"""Parses `ServiceConfig` from JSON. All mistakes are reported together, each with its place.

gRPC ignores unknown settings, but here they are mistakes: these files are written by hand, and a misspelt
timeout should be noticed before an outage.
"""

import json
from typing import Any

from grpcmesh.config import ConfigError
from grpcmesh.service_config import reader as r
from grpcmesh.service_config.balancing import load_balancing
from grpcmesh.service_config.model import (
    CircuitBreaker,
    HealthCheck,
    HedgingPolicy,
    MethodConfig,
    MethodName,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
)
from grpcmesh.service_config.reader import Fields, JsonObject, Mistake

#: gRFC A6: larger numbers of attempts count as this many.
MAX_ATTEMPTS = 5
#: The most bytes of a config, which comes from a file or the environment.
MAX_BYTES = 1 << 20


def parse(text: str | bytes) -> ServiceConfig:
    """Parse a service config.

    Raises:
        ConfigError: The config has mistakes. The error has a line for each, such as
            `methodConfig[0].timeout: must be a duration such as "1.5s", is 3`.
    """
    return from_json(load_json(text, "service config"))


def load_json(text: str | bytes, origin: str) -> Any:
    """Parse JSON strictly: NaN, infinity and too deep nesting are refused. Objects are `Fields`.

    Args:
        text: The JSON text, of at most `MAX_BYTES`.
        origin: Name of the source, for errors.

    Raises:
        ConfigError: The text is refused. The error has one line, which begins with the origin.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError([f"{origin}: larger than {MAX_BYTES} bytes"])
    try:
        return json.loads(text, object_pairs_hook=Fields, parse_constant=_no_constant)
    except RecursionError as e:
        raise ConfigError([f"{origin}: not JSON: nested too deeply"]) from e
    except ValueError as e:
        raise ConfigError([f"{origin}: not JSON: {e}"]) from e


def from_json(value: Any) -> ServiceConfig:
    """Read a service config from decoded JSON. Raises ConfigError as `parse` does."""
    problems: list[str] = []
    root = JsonObject(value, "", problems)
    try:
        config = _service_config(root)
    except RecursionError as e:
        raise ConfigError(["service config: nested too deeply"]) from e
    if problems:
        raise ConfigError(problems)
    return config


def _service_config(root: JsonObject) -> ServiceConfig:
    config = ServiceConfig(
        method_configs=_method_configs(root),
        load_balancing=load_balancing(root),
        retry_throttling=root.child("retryThrottling", _retry_throttling),
        health_check=root.child("healthCheckConfig", _health_check),
        circuit_breaker=root.child("circuitBreaker", _circuit_breaker),
    )
    root.finish()
    return config


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _method_configs(root: JsonObject) -> tuple[MethodConfig, ...]:
    configs = root.children("methodConfig", _method_config)
    seen: dict[MethodName, int] = {}
    for index, config in enumerate(configs):
        for name in config.names:
            if name in seen:
                where = f"methodConfig[{seen[name]}]"
                root.report(f"methodConfig[{index}].name", f"{name} has its settings in {where} already")
            seen.setdefault(name, index)
    return tuple(configs)


def _method_config(o: JsonObject) -> MethodConfig:
    if "retryPolicy" in o and "hedgingPolicy" in o:
        o.report("hedgingPolicy", "a method has either a retryPolicy or a hedgingPolicy")
    return MethodConfig(
        names=_names(o),
        wait_for_ready=o.take("waitForReady", r.a_bool, None),
        timeout=o.take("timeout", r.positive_duration, None),
        max_request_message_bytes=o.take("maxRequestMessageBytes", r.whole(0), None),
        max_response_message_bytes=o.take("maxResponseMessageBytes", r.whole(0), None),
        retry_policy=o.child("retryPolicy", _retry_policy),
        hedging_policy=o.child("hedgingPolicy", _hedging_policy),
    )


def _names(o: JsonObject) -> tuple[MethodName, ...]:
    o.has("name")
    return tuple(o.children("name", _name))


def _name(o: JsonObject) -> MethodName:
    name = MethodName(o.take("service", r.a_string, ""), o.take("method", r.a_string, ""))
    if name.method and not name.service:
        o.report("method", "has no service beside it")
    for part in (name.service, name.method):
        if "/" in part:
            o.report("", f'{r.shown(part)} has a slash: write {{"service": "a.B", "method": "C"}}')
    return name


def _retry_policy(o: JsonObject) -> RetryPolicy:
    per_attempt = o.take("perAttemptRecvTimeout", r.positive_duration, None)
    return RetryPolicy(
        max_attempts=min(o.take("maxAttempts", r.whole(2), 2, required=True), MAX_ATTEMPTS),
        initial_backoff=o.take("initialBackoff", r.positive_duration, 1.0, required=True),
        max_backoff=o.take("maxBackoff", r.positive_duration, 1.0, required=True),
        backoff_multiplier=o.take("backoffMultiplier", r.number(0, 1e6, above=True), 1.0, required=True),
        retryable_status_codes=o.take(
            "retryableStatusCodes", _some_codes, frozenset(), required=per_attempt is None
        ),
        per_attempt_recv_timeout=per_attempt,
    )


def _some_codes(value: Any) -> frozenset[Any]:
    codes = r.status_codes(value)
    if not codes:
        raise Mistake("must name a status code")
    return codes


def _hedging_policy(o: JsonObject) -> HedgingPolicy:
    return HedgingPolicy(
        max_attempts=min(o.take("maxAttempts", r.whole(2), 2, required=True), MAX_ATTEMPTS),
        hedging_delay=o.take("hedgingDelay", r.duration, 0.0),
        hedging_delay_percentile=o.take("hedgingDelayPercentile", r.number(0, 100, above=True), None),
        non_fatal_status_codes=o.take("nonFatalStatusCodes", r.status_codes, frozenset()),
    )


def _retry_throttling(o: JsonObject) -> RetryThrottling:
    # gRFC A6: decimal places beyond the third are ignored.
    ratio = o.take("tokenRatio", r.number(0, 1000, above=True), 0.001, required=True)
    if ratio < 0.001:
        o.report("tokenRatio", f"must be at least 0.001, is {ratio}")
    return RetryThrottling(
        max_tokens=o.take("maxTokens", r.whole(1, 1000), 1, required=True),
        token_ratio=int(ratio * 1000) / 1000,
    )


def _health_check(o: JsonObject) -> HealthCheck:
    return HealthCheck(service_name=o.take("serviceName", r.a_string, None))


def _circuit_breaker(o: JsonObject) -> CircuitBreaker:
    default = CircuitBreaker()
    return CircuitBreaker(
        max_concurrent_requests=o.take(
            "maxConcurrentRequests", r.whole(0, 1 << 32), default.max_concurrent_requests
        ),
        max_pending_requests=o.take("maxPendingRequests", r.whole(0, 1 << 32), default.max_pending_requests),
    )
