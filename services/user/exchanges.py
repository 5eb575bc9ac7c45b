"""Issues tokens that a single service accepts (RFC 8693).

A service that was given such a token cannot use it to call another.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from grpcmesh.call import Principal, Workload
from grpcmesh.errors import PermissionDenied
from services.kit.validation import checking
from services.manifest import ANYONE, GRPC, OPERATOR, Manifests, shop


def audiences(manifests: Manifests) -> Mapping[str, frozenset[str]]:
    """Return the services for which each workload may get tokens: those that it calls on behalf of its users.

    Only workloads whose manifest says that they call ExchangeToken get any. A service is called on behalf of
    users if one of the methods that are called needs a user.
    """
    return {
        caller: frozenset(
            target
            for target, methods in manifest.calls.items()
            if any(manifests[target].methods[method].user != ANYONE for method in methods)
        )
        for caller, manifest in manifests.items()
        if "ExchangeToken" in manifest.calls.get("user", ())
    }


#: The services for which each workload may get tokens. The operator's workload may get them for all services.
ALLOWED = audiences(shop())
SERVICES = frozenset(name for name, manifest in shop().items() if manifest.kind == GRPC)


class Narrower(Protocol):
    """Port: signs tokens that one service accepts."""

    def narrow(self, principal: Principal, audience: str, lifetime: int) -> str:
        """Return a token for one audience with the claims of the token that `principal` came from.

        `lifetime` is in seconds.
        """
        ...


class Exchanges:
    """Exchanges a user's token for one that a single service accepts.

    Args:
        issuer: The port.
        clock: Returns the time in Unix seconds.
    """

    def __init__(self, issuer: Narrower, clock: Callable[[], float]) -> None:
        self._issuer, self._clock = issuer, clock

    def exchange(self, caller: Workload, principal: Principal, service: str) -> tuple[str, int]:
        """Return a token for one service, and the seconds until it expires.

        Args:
            caller: The workload that asks, and that will send the token to the service.
            principal: The user, from the token that came with the call.
            service: The service, such as "order".

        Raises:
            InvalidArgument: there is no such service.
            PermissionDenied: the caller may not get tokens for it.
        """
        with checking() as check:
            check.that(service in SERVICES, "service", f"must be one of {', '.join(sorted(SERVICES))}")
        allowed = SERVICES if caller.service == OPERATOR else ALLOWED.get(caller.service, frozenset())
        if service not in allowed:
            raise PermissionDenied(
                f"{caller.service} has no business with tokens for {service}", "AUDIENCE_NOT_ALLOWED"
            )
        audience = str(Workload(caller.trust_domain, caller.namespace, service))
        lifetime = int(principal.expires_at - self._clock())
        return self._issuer.narrow(principal, audience, lifetime), lifetime
