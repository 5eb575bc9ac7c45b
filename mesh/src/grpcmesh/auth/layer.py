"""Reads `authorization: Bearer …`, applies the policy's `[users]`, sets `call.principal`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from grpcmesh.call import Connections, Method, Principal, Purpose, ServerCall, ServerLayer
from grpcmesh.errors import PermissionDenied, Unauthenticated

if TYPE_CHECKING:
    from grpcmesh.auth.verifier import TokenVerifier

_SCHEME = "bearer "


class Rule(Protocol):
    """What a method needs of its user: `grpcmesh.authz.UserRule`, without importing it."""

    @property
    def optional(self) -> bool: ...

    @property
    def roles(self) -> frozenset[str]: ...


class UserLayer(ServerLayer):
    """Lets a call through whose user is good enough for its method.

    Args:
        verifier: Of tokens; None accepts none.
        rules: The rule of a method under the policy in force.
    """

    applies_to = frozenset({Purpose.APPLICATION, Purpose.CONTROL})

    def __init__(self, verifier: "TokenVerifier | None", rules: Callable[[Method], Rule]) -> None:
        self._verifier, self._rules = verifier, rules

    def on_start(self, call: ServerCall) -> None:
        rule = self._rules(call.method)
        header = call.metadata.get("authorization")
        if header is None:
            if not rule.optional:
                raise Unauthenticated("a token is needed")
            return
        # A bad token is refused where none is needed, too: its sender believes to be somebody.
        call.principal = self._verify(header)
        if rule.roles and rule.roles.isdisjoint(call.principal.roles):
            raise PermissionDenied(
                f"needs one of the roles {', '.join(sorted(rule.roles))}",
                "ROLE_REQUIRED",
                roles=",".join(sorted(rule.roles)),
            )

    def attach(self, connections: Connections) -> None:
        """Streams whose token has been revoked end, as calls with it are refused."""
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
