"""Users: tokens that the user service signs and everybody verifies against its published keys."""

from mesh.auth.issuer import TokenIssuer
from mesh.auth.keys import KeySource, PublicKey, StaticKeys, from_jwk, jwk
from mesh.auth.layer import UserLayer
from mesh.auth.verifier import TokenVerifier

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
