"""Who we are and who they are: our certificate, reloaded as it changes, and the SPIFFE identity of peers."""

from grpcmesh.identity.credentials import Credentials, IdentityError
from grpcmesh.identity.handshakes import HandshakeMonitor
from grpcmesh.identity.layer import IdentityLayer
from grpcmesh.identity.store import IdentityStore

__all__ = ["Credentials", "HandshakeMonitor", "IdentityError", "IdentityLayer", "IdentityStore"]
