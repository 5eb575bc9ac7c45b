"""Converts the caller of the current call to the actor that a domain knows."""

from grpcmesh.call import current_principal, current_workload
from grpcmesh.errors import PermissionDenied
from services.kit.actor import Actor

#: The service name of the operator's workload: the `meshmart` command.
OPERATOR = "client"


def require_workload(service: str) -> None:
    """Raise PermissionDenied unless the given service makes the call.

    For methods that are internal to the shop.
    """
    workload = current_workload()
    if workload is None or workload.service != service:
        raise PermissionDenied(f"only the {service} service may call this", "INTERNAL_METHOD")


def current_actor() -> Actor:
    """Return the user of the current call, as its token says, or an anonymous actor if there is no token."""
    principal = current_principal()
    return Actor(principal.user_id, principal.roles) if principal else Actor()


def acting_admin() -> Actor:
    """Return the user of the current call, or the operator if its workload calls without a token.

    For methods that the policy opens to no other workload without a token: the operator may do what an admin
    may.
    """
    workload = current_workload()
    if current_principal() is None and workload is not None and workload.service == OPERATOR:
        return Actor(operator=True)
    return current_actor()
