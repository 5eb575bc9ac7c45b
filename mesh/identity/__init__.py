"""Who we are and who they are: our certificate, reloaded as it changes, and the SPIFFE identity of peers."""

from mesh.identity.credentials import Credentials, IdentityError
from mesh.identity.handshakes import HandshakeMonitor
from mesh.identity.layer import IdentityLayer
from mesh.identity.store import IdentityStore

__all__ = ["Credentials", "HandshakeMonitor", "IdentityError", "IdentityLayer", "IdentityStore"]
