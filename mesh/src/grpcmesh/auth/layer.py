"""Verifies the user of a call: reads `authorization: Bearer …` and applies the policy's `[users]`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from grpcmesh.call import Connections, Method, Principal, Purpose, ServerCall, ServerLayer
from grpcmesh.errors import PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from grpcmesh.auth.verifier import TokenVerifier

_SCHEME = "bearer "
#: A policy without `[users]` asks for a user, so this is often the first answer of a new service.
NEEDS_TOKEN = (
    "a user's token is needed: send `authorization: Bearer TOKEN`, or "
    'say "anyone" of this method in [users] of the policy of the server'
)


class Rule(Protocol):
    """The requirement that a method has of its user: `grpcmesh.authz.UserRule`, without importing it."""

    @property
    def optional(self) -> bool: ...

    @property
    def roles(self) -> frozenset[str]: ...


class UserLayer(ServerLayer):
    """Refuses calls whose user does not meet the method's rule, and sets `call.principal` of the others.

    Args:
        verifier: Verifies user tokens. If None, every token is refused.
        rules: Returns the rule of a method under the policy in force.
    """

    applies_to = frozenset({Purpose.APPLICATION, Purpose.CONTROL})

    def __init__(self, verifier: "TokenVerifier | None", rules: Callable[[Method], Rule]) -> None:
        self._verifier, self._rules = verifier, rules

    def on_start(self, call: ServerCall) -> None:
        rule = self._rules(call.method)
        header = call.metadata.get("authorization")
        if header is None:
            if not rule.optional:
                raise Unauthenticated(NEEDS_TOKEN)
            return
        # A bad token is refused even if none is needed: the caller expects to be identified by it.
        call.principal = self._verify(header)
        if rule.roles and rule.roles.isdisjoint(call.principal.roles):
            raise PermissionDenied(
                f"needs one of the roles {', '.join(sorted(rule.roles))}",
                "ROLE_REQUIRED",
                roles=",".join(sorted(rule.roles)),
            )

    def attach(self, connections: Connections) -> None:
        """End streams when their token is revoked, as calls with a revoked token are refused."""
        verifier = self._verifier
        if verifier is not None:
            verifier.on_revoked = lambda: connections.end_streams(
                lambda call: call.principal is not None and verifier.is_revoked(call.principal),
                lambda: Unauthenticated("the token has been revoked"),
            )

    def _verify(self, header: str | bytes) -> Principal:
        if not isinstance(header, str) or header[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated("the authorization metadata is not a bearer token")
        if self._verifier is None:
            raise Unauthenticated("tokens are not accepted here")
        return self._verifier.verify(header[len(_SCHEME) :])
