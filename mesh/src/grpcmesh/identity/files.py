"""Reads the three files of an identity so that they belong together."""

from dataclasses import replace
from pathlib import Path

from grpcmesh.config import IdentityConfig
from grpcmesh.identity.material import MAX_SIZE, Material
from grpcmesh.identity.problems import Cause, Problem

#: How often to read again until two readings are equal: the kubelet may swap the directory between two files.
_LOOKS = 3


def read(config: IdentityConfig) -> Material | Problem:
    """Return the current content of the files, or a problem if one is missing or cannot be read."""
    found = _read(config)
    for _ in range(_LOOKS):
        before, found = found, _read(config)
        if found == before:
            break
    return found


def _read(config: IdentityConfig) -> Material | Problem:
    content: dict[str, bytes] = {}
    for name in ("tls.crt", "tls.key", "ca.crt"):
        data = _content(name, located(config, name))
        if isinstance(data, Problem):
            return data
        content[name] = data
    return with_bundles(config, Material(content["tls.crt"], content["tls.key"], content["ca.crt"]))


def with_bundles(config: IdentityConfig, given: Material) -> Material | Problem:
    """Return an identity with the bundles of other trust domains that the settings name."""
    federated = dict(given.federated)
    for domain, where in config.bundles.items():
        data = _content(where, Path(where))
        if isinstance(data, Problem):
            return data
        federated[domain] = data
    return replace(given, federated=federated) if config.bundles else given


def located(config: IdentityConfig, name: str) -> Path:
    """Return the path of the file with this name. The bundle may be outside the directory."""
    if name in config.bundles.values():
        return Path(name)
    return config.bundle if config.bundle and name == "ca.crt" else config.directory / name


def _content(name: str, path: Path) -> bytes | Problem:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE + 1)  # one more: what is too large is seen to be
    except OSError as e:
        return Problem(Cause.UNREADABLE, name, e.strerror or str(e))
