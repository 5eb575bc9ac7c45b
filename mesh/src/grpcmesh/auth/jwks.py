"""Reads a JSON Web Key Set (RFC 7517, 5) and an OpenID Connect discovery document. Pure.

Keys that cannot verify tokens here are left out, as the RFC demands, so that an issuer can add a new kind of
key. A document without any usable key is refused.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from grpcmesh.auth.keys import PublicKey, algorithm_of, key_of
from grpcmesh.auth.problems import KeyCause, KeysError, told

#: The most keys of a set, and characters of a key id.
MAX_KEYS, MAX_KID = 100, 255
#: Members that only private or symmetric keys have.
_SECRET = frozenset({"d", "k", "p", "q", "dp", "dq", "qi", "oth"})


def read_jwks(body: bytes, algorithms: Collection[str], where: str) -> dict[str, PublicKey]:
    """Return the usable keys of a set by key id. A key without an id has the empty one.

    Args:
        body: The document.
        algorithms: The signature algorithms that are allowed.
        where: The address of the document, for messages.

    Raises:
        KeysError: The document is no key set, or has no usable key.
    """
    keys = _document(body, where).get("keys")
    if not isinstance(keys, list):
        raise KeysError(KeyCause.NOT_KEYS, f"{where} is not a JSON Web Key Set: it has no list of keys")
    if len(keys) > MAX_KEYS:
        raise KeysError(KeyCause.NOT_KEYS, f"{where} has {len(keys)} keys; at most {MAX_KEYS} are accepted")
    usable: dict[str, PublicKey] = {}
    for entry in keys:
        found = _usable(entry, algorithms)
        if found is not None:
            usable.setdefault(*found)
    if not usable:
        allowed = ", ".join(sorted(algorithms))
        text = f"{where}: none of its {len(keys)} keys can verify tokens by {allowed}"
        raise KeysError(KeyCause.NOT_KEYS, text)
    return usable


def read_discovery(body: bytes, issuer: str, where: str) -> str:
    """Return the address of the issuer's keys (OpenID Connect Discovery 1.0, 4.3).

    Raises:
        KeysError: The document is malformed, or is of another issuer.
    """
    document = _document(body, where)
    if document.get("issuer") != issuer:
        text = f"{where} is of the issuer {told(document.get('issuer'))}, not of {issuer!r}"
        raise KeysError(KeyCause.ISSUER_MISMATCH, text)
    uri = document.get("jwks_uri")
    if not isinstance(uri, str):
        raise KeysError(KeyCause.NOT_KEYS, f"{where} names no jwks_uri")
    return uri


def _document(body: bytes, where: str) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise KeysError(KeyCause.NOT_JSON, f"{where} is not JSON") from None
    if not isinstance(document, dict):
        raise KeysError(KeyCause.NOT_KEYS, f"{where} is not a JSON object")
    return document


def _usable(entry: Any, algorithms: Collection[str]) -> tuple[str, PublicKey] | None:
    if not isinstance(entry, dict) or not _SECRET.isdisjoint(entry):
        return None
    kid, operations = entry.get("kid", ""), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or len(kid) > MAX_KID or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    try:
        key = key_of(entry)
    except ValueError:
        return None
    algorithm = algorithm_of(key)
    return (kid, key) if algorithm in algorithms and entry.get("alg", algorithm) == algorithm else None
