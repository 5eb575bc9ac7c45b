"""The settings in force as text, with their sources and without secrets. Pure."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from grpcmesh.config import MeshConfig
from grpcmesh.identity import server_identity
from grpcmesh.service_config import Effective, ServiceConfigStore
from grpcmesh.service_config.sources import SETTINGS
from grpcmesh.telemetry.logs import names_secret
from grpcmesh.urls import HIDDEN, without_secrets

#: The source of a value that nothing sets.
DEFAULT = "default"


@dataclasses.dataclass(frozen=True)
class Setting:
    """One value in force, and its source: `default`, `environment` or the name of a file."""

    name: str
    value: str
    source: str


def settings(config: MeshConfig) -> list[Setting]:
    """Return all settings of a process, by the names of their variables."""
    return [
        Setting(name, shown(name, value), config.origins.get(name, DEFAULT))
        for name, value in _flat(config, "MESH")
    ]


def of_target(config: MeshConfig, store: ServiceConfigStore, target: str) -> Iterator[Setting]:
    """Yield what holds for one target. Raises TargetError."""
    found, identity = config.target(target), server_identity(config, target)
    mapped = "MESH_TARGETS" if target in config.targets else "the target's name"
    place = ", ".join(found.addresses) or f"{found.name}{f':{found.port}' if found.port else ''}"
    yield Setting(f"{target}: endpoints", place, mapped)
    if not found.addresses:
        kind = found.scheme or config.resolver.kind
        yield Setting(f"{target}: resolver", kind, mapped if found.scheme else "MESH_RESOLVER_KIND")
        if not found.port and kind == "dns":
            yield Setting(f"{target}: port", str(config.resolver.port), "MESH_RESOLVER_PORT")
    named = "MESH_IDENTITY_SERVERS" if target in config.identity.servers else mapped
    expected = identity.spiffe_id or f"{identity.dns_name} (DNS name only)"
    yield Setting(f"{target}: server", "anybody: plaintext" if config.plaintext else expected, named)
    for option, value in config.channel.options_of(target).items():
        yield Setting(f"{target}: {option}", shown(option, value), "MESH_CHANNEL_OPTIONS")
    yield from _service_config(target, store.effective(target))


def _service_config(target: str, effective: Effective) -> Iterator[Setting]:
    values = {name: getattr(effective.config, field) for field, name in SETTINGS.items()}
    values |= {f"methodConfig {method}": m for m in effective.config.method_configs for method in m.names}
    for name, origin in effective.origins.items():
        yield Setting(f"{target}: {name}", _summary(values[name]), origin)


def _summary(value: Any) -> str:
    """Return the fields of a part of the service config that are set."""
    fields = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
    return ", ".join(f"{name}={inner}" for name, inner in fields if name != "names" and inner is not None)


def shown(name: str, value: Any) -> str:
    """Return a value as text, without secrets: neither those by name, nor passwords in URLs."""
    if isinstance(value, Mapping):
        return ",".join(f"{key}={shown(key, inner)}" for key, inner in value.items())
    if isinstance(value, tuple):
        return without_secrets(",".join(map(str, value)))
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if (
        names_secret(re.split(r"[:.]", name)[-1].removeprefix("MESH_").lower())
        and isinstance(value, str)
        and value
    ):
        return HIDDEN
    return without_secrets(str(value))


def _flat(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{prefix}_{field.name.upper()}"
        if dataclasses.is_dataclass(value):
            yield from _flat(value, name)
        else:
            yield name, value
