"""From the call being served to the actor that a domain knows."""

from grpcmesh.call import current_principal
from services.kit.actor import Actor


def current_actor() -> Actor:
    """The user of the call being served, as its token says; nobody, where there is none."""
    principal = current_principal()
    return Actor(principal.user_id, principal.roles) if principal else Actor()
