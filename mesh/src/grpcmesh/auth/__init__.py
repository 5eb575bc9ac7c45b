"""Users: tokens that the user service signs and everybody verifies against its published keys.

What needs PyJWT (the extra `jwt`) is imported when it is asked for: a server without user tokens needs none.
"""

import importlib
from typing import TYPE_CHECKING, Any

from grpcmesh.auth.layer import UserLayer
from grpcmesh.auth.revocation import MAX_REVOCATIONS, Revocation, Revocations

if TYPE_CHECKING:
    from grpcmesh.auth.issuer import TokenIssuer
    from grpcmesh.auth.keys import KeySource, PublicKey, StaticKeys, from_jwk, jwk
    from grpcmesh.auth.verifier import TokenVerifier

__all__ = [
    "MAX_REVOCATIONS",
    "KeySource",
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
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
