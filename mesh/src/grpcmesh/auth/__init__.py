"""Users: tokens that the user service signs and everybody verifies against its published keys."""

from grpcmesh.auth.issuer import TokenIssuer
from grpcmesh.auth.keys import KeySource, PublicKey, StaticKeys, from_jwk, jwk
from grpcmesh.auth.layer import UserLayer
from grpcmesh.auth.verifier import TokenVerifier

__all__ = [
    "KeySource",
    "PublicKey",
    "StaticKeys",
    "TokenIssuer",
    "TokenVerifier",
    "UserLayer",
    "from_jwk",
    "jwk",
]
