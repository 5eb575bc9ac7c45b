"""The visitor's session: the access token in a cookie, renewed with the refresh token when it has expired.

The storefront does not verify tokens. What it reads in one (name, roles, expiry) only decides what is drawn;
each service verifies the token of each call.
"""

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from services.kit.text import is_encodable
from services.kit.validation import INT32_MAX
from services.storefront.domain import Accounts, Problem, ShopError, Tokens

#: Seconds before its expiry at which a token counts as expired: placing an order may take as long, with all
#: its attempts.
EARLY = 60.0
#: The longest cookie that is parsed.
_MAX_TOKEN = 4096
#: A JWS in its compact form (RFC 7515, 7.1). Nothing else may reach the metadata of a call.
_JWT = re.compile(r"[A-Za-z0-9_-]+\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+", re.ASCII)
_USER_ID = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
#: The latest expiry in Unix seconds: beyond it, a float is no longer exact.
_MAX_TIME = 2**53


@dataclass(frozen=True, slots=True)
class Session:
    """The claims of a token about its user."""

    token: str = field(repr=False)
    user_id: int
    name: str
    roles: frozenset[str]
    expires_at: float

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles

    def is_over(self, now: float) -> bool:
        """Return whether the token has expired, or would expire before the page's calls are made."""
        return self.expires_at - EARLY < now

    @classmethod
    def read(cls, token: str) -> "Session | None":
        """Return the session of an unverified JWT, or None if the user service cannot have issued it."""
        match = _JWT.fullmatch(token) if len(token) <= _MAX_TOKEN else None
        claims = _claims(match[1]) if match else None
        if not isinstance(claims, dict):
            return None
        subject, name = claims.get("sub"), claims.get("name", "")
        roles, expires_at = claims.get("roles", []), claims.get("exp")
        if not _is_user_id(subject) or not _is_name(name) or not _is_time(expires_at):
            return None
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            return None
        return cls(token, int(subject), name, frozenset(roles), float(expires_at))


def _claims(payload: str) -> Any:
    """Return the JSON of a token's payload, or None if it is not JSON or nested too deeply."""
    try:
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode())
    except (ValueError, RecursionError):
        return None


def _is_user_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and bool(_USER_ID.fullmatch(value)) and int(value) <= INT32_MAX


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and is_encodable(value)


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value <= _MAX_TIME  # False for NaN, too


class Renewals:
    """Exchanges refresh tokens. Requests with the same token get tokens of the same log-in.

    Nothing is cached here: the user service gives the same answer again, so it does not matter which replica
    of the storefront gets a request, nor that another one has just renewed the same session.

    Args:
        accounts: Exchanges the tokens.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, accounts: Accounts, now: Callable[[], float] = time.time) -> None:
        self._accounts, self.now = accounts, now

    async def renew(self, refresh_token: str) -> Tokens | None:
        """Return new tokens, or None if the user must log in again.

        Raises:
            ShopError: the user service does not answer.
        """
        try:
            return await self._accounts.refresh(refresh_token)
        except ShopError as e:
            if e.problem in (Problem.LOGIN, Problem.INVALID, Problem.FORBIDDEN, Problem.NOT_FOUND):
                return None
            raise
