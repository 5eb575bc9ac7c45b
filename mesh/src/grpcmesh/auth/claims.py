"""Reads the claims of a token whose signature is good, and checks each one's type (RFC 7519). Pure.

A good signature proves who wrote the claims, not that they make sense. A claim that is not exactly as it
should be is refused, never converted.
"""

import math
from collections.abc import Mapping
from typing import Any

from grpcmesh.call import Principal

#: The most digits of a user id, roles of a user, and characters of a name or a role.
_MOST_DIGITS, MAX_ROLES, MAX_TEXT = 18, 100, 200


class ClaimsError(ValueError):
    """Raised for a claim that is missing or wrong. The message names the claim but never holds its value."""


class ExpiredError(ClaimsError):
    """Raised for a token that has expired."""


def read_claims(claims: Mapping[str, Any], now: float, leeway: float) -> Principal:
    """Return the user that the claims are about.

    Args:
        claims: The payload of a token with a good signature, issuer and audience.
        now: Unix seconds.
        leeway: Seconds of clock skew that are forgiven.

    Raises:
        ExpiredError: `exp` has passed.
        ClaimsError: a claim is missing or not as it should be, or `nbf` is still to come.
    """
    expires = _date(claims, "exp")
    if expires <= now - leeway:
        raise ExpiredError("exp")
    if "nbf" in claims and _date(claims, "nbf") > now + leeway:
        raise ClaimsError("nbf")
    name, session = _text(claims.get("name", ""), "name"), _text(claims.get("sid", ""), "sid")
    issued_at = _date(claims, "iat") if "iat" in claims else 0.0
    return Principal(_user_id(claims), name, _roles(claims), expires, issued_at, session)


def _date(claims: Mapping[str, Any], name: str) -> float:
    """Return a NumericDate claim in unix seconds. Raises ClaimsError if it is no finite JSON number."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ClaimsError(name)
    try:
        seconds = float(value)
    except OverflowError as e:
        raise ClaimsError(name) from e
    if not math.isfinite(seconds):
        raise ClaimsError(name)
    return seconds


def _user_id(claims: Mapping[str, Any]) -> int:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not (subject.isascii() and subject.isdigit()):
        raise ClaimsError("sub")
    if len(subject) > _MOST_DIGITS or not (user_id := int(subject)):
        raise ClaimsError("sub")
    return user_id


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    roles = claims.get("roles")
    if not isinstance(roles, list) or len(roles) > MAX_ROLES:
        raise ClaimsError("roles")
    return frozenset(_text(role, "roles") for role in roles)


def _text(value: Any, name: str) -> str:
    """Return a claim that is text, without control characters or lone surrogates. Raises ClaimsError."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value.isprintable() or not value):
        raise ClaimsError(name)
    return value
