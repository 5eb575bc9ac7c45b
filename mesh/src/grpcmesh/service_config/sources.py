"""Combines the settings of a target from several sources. Pure.

A document maps targets to service configs; `*` stands for every target:

    {"*": {"retryThrottling": …}, "product": {"methodConfig": […], "loadBalancingConfig": […]}}

Settings of a target override those of `*`. Among those, the environment overrides the file, and the file
overrides the code. Settings are combined one by one: a file that sets the balancing of `product` keeps the
timeouts that the code sets. The `MethodConfig` of one method, service or of all methods is one setting.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpcmesh.config import ConfigError
from grpcmesh.service_config.model import MethodConfig, MethodName, ServiceConfig
from grpcmesh.service_config.parse import from_json, load_json
from grpcmesh.service_config.reader import Fields
from grpcmesh.target import Target, TargetError

#: The name that stands for every target.
EVERY = "*"


@dataclass(frozen=True, slots=True)
class Document:
    """The service configs of one source.

    Args:
        origin: Name of the source: `the code`, a file's path, or a variable's name. Shown beside each value.
        targets: Service configs by the name of the target, or `*`.
    """

    origin: str
    targets: Mapping[str, ServiceConfig]


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings in force for one target.

    Args:
        config: All settings, combined.
        origins: The source of each setting, by its name, such as `methodConfig a.B/C`.
    """

    config: ServiceConfig = field(default_factory=ServiceConfig)
    origins: Mapping[str, str] = field(default_factory=dict)


def read_document(text: str | bytes, origin: str) -> Document:
    """Read the JSON of a source.

    Raises:
        ConfigError: There are mistakes. The error has a line for each, with origin, target and place.
    """
    value = load_json(text, origin)
    if not isinstance(value, Mapping):
        raise ConfigError([f'{origin}: must be an object of targets, such as {{"product": {{…}}}}'])
    targets: dict[str, ServiceConfig] = {}
    twice = value.twice if isinstance(value, Fields) else ()
    problems = [f"{origin}: {json.dumps(target)} stands twice" for target in twice]
    for target, config in value.items():
        if problem := _no_target(target):
            problems.append(f"{origin}: {json.dumps(target[:60])}: {problem}")
        try:
            targets[target] = from_json(config)
        except ConfigError as e:
            problems += [f"{origin}: {json.dumps(target)}: {problem}" for problem in e.problems]
    if problems:
        raise ConfigError(problems)
    return Document(origin, targets)


def _no_target(name: str) -> str:
    """Return what is wrong with the name of a target; empty: nothing."""
    try:
        if name != EVERY:
            Target.parse(name, "namespace", "cluster.local")
    except TargetError as e:
        return str(e)
    return ""


def effective(target: str, documents: Sequence[Document]) -> Effective:
    """Return the settings in force for a target.

    Args:
        target: Short name of the target.
        documents: The sources, with the highest precedence first.
    """
    settings: dict[str, Any] = {}
    methods: dict[MethodName, MethodConfig] = {}
    origins: dict[str, str] = {}
    for name in (target, EVERY):
        for document in documents:
            if (config := document.targets.get(name)) is not None:
                origin = document.origin if name == target else f"{document.origin} (*)"
                _take(config, origin, settings, methods, origins)
    configs = tuple(_named(name, config) for name, config in methods.items())
    return Effective(ServiceConfig(method_configs=configs, **settings), origins)


def _take(
    config: ServiceConfig,
    origin: str,
    settings: dict[str, Any],
    methods: dict[MethodName, MethodConfig],
    origins: dict[str, str],
) -> None:
    for name, key in SETTINGS.items():
        value = getattr(config, name)
        if value is not None and name not in settings:
            settings[name] = value
            origins[key] = origin
    for method_config in config.method_configs:
        for method in method_config.names:
            if method not in methods:
                methods[method] = method_config
                origins[f"methodConfig {method}"] = origin


def _named(name: MethodName, config: MethodConfig) -> MethodConfig:
    """Return the settings for only one of their names. Another source may have set the others."""
    return MethodConfig(
        (name,),
        config.wait_for_ready,
        config.timeout,
        config.max_request_message_bytes,
        config.max_response_message_bytes,
        config.retry_policy,
        config.hedging_policy,
    )


#: Fields of `ServiceConfig` beside the methods, by their names in JSON.
SETTINGS = {
    "load_balancing": "loadBalancingConfig",
    "retry_throttling": "retryThrottling",
    "health_check": "healthCheckConfig",
    "circuit_breaker": "circuitBreaker",
}
