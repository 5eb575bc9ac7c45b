"""From the call being served to the actor that a domain knows."""

from grpcmesh.call import current_principal, current_workload
from grpcmesh.errors import PermissionDenied
from services.kit.actor import Actor

#: The operator's workload: the `meshmart` command.
OPERATOR = "client"


def require_workload(service: str) -> None:
    """For methods that are one service's business. Raises PermissionDenied where another calls."""
    workload = current_workload()
    if workload is None or workload.service != service:
        raise PermissionDenied(f"only the {service} service may call this", "INTERNAL_METHOD")


def current_actor() -> Actor:
    """The user of the call being served, as its token says; nobody, where there is none."""
    principal = current_principal()
    return Actor(principal.user_id, principal.roles) if principal else Actor()


def acting_admin() -> Actor:
    """The same, but where there is no token the operator's workload may do what an admin may.

    For methods that the policy opens to nobody else without a token.
    """
    workload = current_workload()
    if current_principal() is None and workload is not None and workload.service == OPERATOR:
        return Actor(operator=True)
    return current_actor()
