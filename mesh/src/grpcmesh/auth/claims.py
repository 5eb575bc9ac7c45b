"""Reads the claims of a token whose signature is good, and checks each one's type (RFC 7519). Pure.

A good signature proves who wrote the claims, not that they make sense. A claim that is not exactly as it
should be is refused, never converted.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grpcmesh.call import Principal

#: The most digits of a user id, roles of a user, and characters of a name or a role.
_MOST_DIGITS, MAX_ROLES, MAX_TEXT = 18, 100, 200
#: The most characters of a subject (OpenID Connect Core 1.0, section 2).
MAX_SUBJECT = 255
#: Claims that hold a list as one text, with spaces (RFC 8693, 4.2; `scp` is Microsoft's name).
_SPACED = frozenset({"scope", "scp"})


class ClaimsError(ValueError):
    """Raised for a claim that is missing or wrong. The message names the claim but never holds its value."""


class ExpiredError(ClaimsError):
    """Raised for a token that has expired."""


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """The form of one issuer's claims.

    Args:
        issuer: The issuer, which the principal carries.
        numeric: Whether the subject is the decimal id of a user of this system. Otherwise it is any text, and
            the principal's `user_id` is 0.
        roles: The claim with the roles: its name, or its place with dots, such as `realm_access.roles`.
        roles_required: Whether a token without that claim is refused. Otherwise its user has no roles.
    """

    issuer: str = ""
    numeric: bool = True
    roles: str = "roles"
    roles_required: bool = True


def read_claims(
    claims: Mapping[str, Any],
    now: float,
    leeway: float,
    rules: ClaimRules = ClaimRules(),
) -> Principal:
    """Return the user that the claims are about.

    Args:
        claims: The payload of a token with a good signature, issuer and audience.
        now: Unix seconds.
        leeway: Seconds of clock skew that are forgiven.
        rules: The form of the issuer's claims.

    Raises:
        ExpiredError: `exp` has passed.
        ClaimsError: a claim is missing or not as it should be, or `nbf` is still to come.
    """
    expires = _date(claims, "exp")
    if expires <= now - leeway:
        raise ExpiredError("exp")
    if "nbf" in claims and _date(claims, "nbf") > now + leeway:
        raise ClaimsError("nbf")
    name, session = _name(claims, rules), _text(claims.get("sid", ""), "sid")
    issued_at = _date(claims, "iat") if "iat" in claims else 0.0
    subject = _subject(claims)
    user_id = _user_id(subject) if rules.numeric else 0
    roles = _roles(claims, rules)
    return Principal(user_id, name, roles, expires, issued_at, session, subject, rules.issuer)


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


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not (0 < len(subject) <= MAX_SUBJECT and subject.isprintable()):
        raise ClaimsError("sub")
    return subject


def _name(claims: Mapping[str, Any], rules: ClaimRules) -> str:
    """Return the user's name, which is only shown. A foreign name that cannot be shown is left out."""
    try:
        return _text(claims.get("name", ""), "name")
    except ClaimsError:
        if rules.numeric:
            raise
        return ""


def _user_id(subject: str) -> int:
    if not (subject.isascii() and subject.isdigit()) or len(subject) > _MOST_DIGITS:
        raise ClaimsError("sub")
    if not (user_id := int(subject)):
        raise ClaimsError("sub")
    return user_id


def _roles(claims: Mapping[str, Any], rules: ClaimRules) -> frozenset[str]:
    found, name, roles = _at(claims, rules.roles)
    if not found and not rules.roles_required:
        return frozenset()
    if name in _SPACED and isinstance(roles, str):
        roles = roles.split()
    if not isinstance(roles, list) or len(roles) > MAX_ROLES:
        raise ClaimsError("roles")
    return frozenset(_text(role, "roles") for role in roles)


def _at(claims: Mapping[str, Any], path: str) -> tuple[bool, str, Any]:
    """Return whether a claim exists, its own name, and its value.

    A claim whose name is the whole path comes first: `https://api.example.com/roles` has dots of its own.
    """
    if path in claims:
        return True, path, claims[path]
    value: Any = claims
    *outer, name = path.split(".")
    for level in (*outer, name):
        if not isinstance(value, Mapping):
            raise ClaimsError("roles")
        if level not in value:
            return False, name, None
        value = value[level]
    return True, name, value


def _text(value: Any, name: str) -> str:
    """Return a claim that is text, without control characters or lone surrogates. Raises ClaimsError."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value.isprintable() or not value):
        raise ClaimsError(name)
    return value
