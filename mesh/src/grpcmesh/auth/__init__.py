"""User tokens. An issuer signs them, and every server verifies them against its published keys.

Modules that need PyJWT (the extra `jwt`) are imported on first use, so a server without user tokens does not
need it. May be imported by `grpcmesh.mesh`, `grpcmesh.runtime`, `grpcmesh.server`, `grpcmesh.server_side`,
`grpcmesh.commands`, `services`, `meshmart`. Start reading in `verifier`. See mesh/docs/user-auth.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

from grpcmesh.auth.layer import UserLayer
from grpcmesh.auth.revocation import MAX_REVOCATIONS, Revocation, Revocations

if TYPE_CHECKING:
    from grpcmesh.auth.issuer import TokenIssuer
    from grpcmesh.auth.keys import KeySource, PublicKey, StaticKeys, from_jwk, jwk
    from grpcmesh.auth.problems import KeyCause, KeysError
    from grpcmesh.auth.sources import DiscoveredKeys, FileKeys, JwksKeys
    from grpcmesh.auth.verifier import TokenVerifier

__all__ = [
    "MAX_REVOCATIONS",
    "DiscoveredKeys",
    "FileKeys",
    "JwksKeys",
    "KeyCause",
    "KeySource",
    "KeysError",
    "PublicKey",
    "Revocation",
    "Revocations",
    "StaticKeys",
    "TokenIssuer",
    "TokenVerifier",
    "UserLayer",
    "from_jwk",
    "jwk",
]

_MODULES = {
    "TokenIssuer": "issuer",
    "TokenVerifier": "verifier",
    **dict.fromkeys(("KeySource", "PublicKey", "StaticKeys", "from_jwk", "jwk"), "keys"),
    **dict.fromkeys(("KeyCause", "KeysError"), "problems"),
    **dict.fromkeys(("DiscoveredKeys", "FileKeys", "JwksKeys"), "sources"),
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
