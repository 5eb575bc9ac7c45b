"""Identities: our own certificate, reloaded when it changes, and the SPIFFE identity of peers.

May be imported by `grpcmesh.client`, `grpcmesh.server`, `grpcmesh.server_side`, `grpcmesh.member`,
`grpcmesh.mesh`, `grpcmesh.runtime`, `grpcmesh.settings`, `grpcmesh.commands`, `local`, `meshmart`.
Start reading in `store`. See mesh/docs/identity.md.
"""

from grpcmesh.identity.credentials import Credentials
from grpcmesh.identity.diagnosis import Diagnosis, diagnose
from grpcmesh.identity.handshakes import HandshakeMonitor
from grpcmesh.identity.layer import IdentityLayer
from grpcmesh.identity.leaf import Expected, Role
from grpcmesh.identity.material import Material
from grpcmesh.identity.material import Material as Certificates
from grpcmesh.identity.problems import Cause, IdentityError, Problem
from grpcmesh.identity.servers import ServerIdentity, Verdict, explain, judge, server_identity
from grpcmesh.identity.store import IdentityStore, expected_of

__all__ = [
    "Cause",
    "Certificates",
    "Credentials",
    "Diagnosis",
    "Expected",
    "HandshakeMonitor",
    "IdentityError",
    "IdentityLayer",
    "IdentityStore",
    "Material",
    "Problem",
    "Role",
    "ServerIdentity",
    "Verdict",
    "diagnose",
    "expected_of",
    "explain",
    "judge",
    "server_identity",
]
