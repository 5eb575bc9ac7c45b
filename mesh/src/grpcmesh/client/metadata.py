"""Finds request metadata that gRPC would refuse, before the call begins.

gRPC itself finds it in a background task, and then the call never ends. The rules are those of C-core
(src/core/lib/surface/validate_metadata.cc) and of grpc.aio's conversion to bytes.
"""

import re
from typing import Any

from grpc.aio import Metadata

from grpcmesh.hooks import let_through

Pairs = list[tuple[str, str | bytes]]

_KEY = re.compile(r"[0-9a-z_.-]+")
#: The bytes that C-core accepts in a text value.
_PRINTABLE = bytes(range(0x20, 0x7F))
#: Keys of text values that have been checked: a process uses few. Bounded, because keys may be computed.
_known: set[str] = set()
_MOST_KNOWN = 1024


class Sent(list[Any], Metadata):  # type: ignore[misc] # a list in all that gRPC asks of it
    """A list of pairs that gRPC accepts as a `Metadata`, without first sorting them into lists by key.

    Making a `Metadata` of two pairs takes eight times as long (measured with grpcio 1.85).
    """


class InvalidMetadata(Exception):  # noqa: N818 - an internal signal; it ends as the status of a call
    """Raised for metadata that gRPC would refuse.

    Its text names the key and the reason. It does not hold the value, which may be a secret.
    """


def pairs(metadata: Any) -> Pairs:
    """Return metadata as a list of pairs.

    Args:
        metadata: A `grpc.aio.Metadata`, or any iterable of pairs.

    Raises:
        InvalidMetadata: It is something else, or raises when it is iterated.
    """
    try:
        return [(key, value) for key, value in metadata]
    except (TypeError, ValueError) as e:
        raise InvalidMetadata(f"metadata was invalid: it is no sequence of pairs: {e}") from e
    except BaseException as e:  # of the caller's own iterator
        let_through(e)
        raise InvalidMetadata(f"metadata was invalid: iterating it raised {type(e).__name__}") from e


def check(metadata: Pairs) -> Pairs:
    """Return a copy of these pairs, once it is clear that gRPC will send them.

    Raises:
        InvalidMetadata: gRPC would refuse one of them.
    """
    for key, value in metadata:
        # The usual case: a known key, and text.
        if type(key) is str and key in _known and type(value) is str and _is_text(value):
            continue
        _check(key, value)
    return list(metadata)


def _check(key: Any, value: Any) -> None:
    name = key.decode("latin-1") if isinstance(key, bytes) else key
    if not isinstance(name, str) or not _KEY.fullmatch(name):
        raise InvalidMetadata(
            f"metadata was invalid: key {_shown(key)}: a key has lower-case letters, digits, '-', '_' and '.'"
        )
    if name.endswith("-bin"):
        if not isinstance(value, bytes):
            raise InvalidMetadata(f"metadata was invalid: the value of {name} must be bytes: it ends in -bin")
        return
    if value is not None and not _is_text(value):
        raise InvalidMetadata(
            f"metadata was invalid: the value of {name} must be printable ASCII (bytes: a key in -bin)"
        )
    if isinstance(key, str) and len(_known) < _MOST_KNOWN:
        _known.add(key)


def _shown(key: Any) -> str:
    return f"{key!r:.80}" if isinstance(key, str | bytes) else f"of type {type(key).__name__}"


def _is_text(value: Any) -> bool:
    # `translate` is twice as fast as `isprintable` or a pattern: a token is long.
    if isinstance(value, str):
        return value.isascii() and not value.encode().translate(None, _PRINTABLE)
    return isinstance(value, bytes) and not value.translate(None, _PRINTABLE)
