"""Reads the files of an identity: all three of one moment, or a problem."""

from pathlib import Path

from grpcmesh.config import IdentityConfig
from grpcmesh.identity.material import MAX_SIZE, Material
from grpcmesh.identity.problems import Cause, Problem

#: Looks for two that are alike: the kubelet swaps a directory between the reading of two of its files.
_LOOKS = 3


def read(config: IdentityConfig) -> Material | Problem:
    """The files as they lie there now; a problem where one is missing or cannot be read."""
    found = _read(config)
    for _ in range(_LOOKS):
        before, found = found, _read(config)
        if found == before:
            break
    return found


def _read(config: IdentityConfig) -> Material | Problem:
    content = []
    for name in ("tls.crt", "tls.key", "ca.crt"):
        data = _content(name, located(config, name))
        if isinstance(data, Problem):
            return data
        content.append(data)
    return Material(*content)


def located(config: IdentityConfig, name: str) -> Path:
    """Where the file of this name lies: the bundle may have a place of its own."""
    return config.bundle if config.bundle and name == "ca.crt" else config.directory / name


def _content(name: str, path: Path) -> bytes | Problem:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SIZE + 1)  # one more: what is too large is seen to be
    except OSError as e:
        return Problem(Cause.UNREADABLE, name, e.strerror or str(e))
