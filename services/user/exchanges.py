"""One token audience a service: a token that a service was given is of no use to it elsewhere (RFC 8693)."""

from collections.abc import Callable, Mapping
from typing import Protocol

from grpcmesh.call import Principal, Workload
from grpcmesh.errors import PermissionDenied
from services.kit.validation import checking

#: What each workload may have tokens for: the services that it calls on behalf of its users. The operator's
#: may have them for all.
ALLOWED: Mapping[str, frozenset[str]] = {"storefront": frozenset({"notification", "order", "user"})}
SERVICES = frozenset({"analytics", "chat", "notification", "order", "payment", "product", "user"})
_OPERATOR = "client"


class Narrower(Protocol):
    """Port: signing tokens that one service accepts."""

    def narrow(self, principal: Principal, audience: str, lifetime: int) -> str:
        """A token that says of its user what the one that made `principal` said."""
        ...


class Exchanges:
    """Args:
    issuer: The port.
    clock: Unix seconds.
    """

    def __init__(self, issuer: Narrower, clock: Callable[[], float]) -> None:
        self._issuer, self._clock = issuer, clock

    def exchange(self, caller: Workload, principal: Principal, service: str) -> tuple[str, int]:
        """A token for one service, and the seconds until it ends.

        Args:
            caller: Who asks, and will carry the token there.
            principal: Whose token it was asked with.
            service: Such as "order".

        Raises:
            InvalidArgument: there is no such service.
            PermissionDenied: the caller may have no tokens for it.
        """
        with checking() as check:
            check.that(service in SERVICES, "service", f"must be one of {', '.join(sorted(SERVICES))}")
        allowed = SERVICES if caller.service == _OPERATOR else ALLOWED.get(caller.service, frozenset())
        if service not in allowed:
            raise PermissionDenied(
                f"{caller.service} has no business with tokens for {service}", "AUDIENCE_NOT_ALLOWED"
            )
        audience = str(Workload(caller.trust_domain, caller.namespace, service))
        lifetime = int(principal.expires_at - self._clock())
        return self._issuer.narrow(principal, audience, lifetime), lifetime
