"""Keys that verify tokens: Ed25519 or P-256, and their form on the wire (JWK, RFC 7517 and RFC 8037)."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from jwt.exceptions import InvalidKeyError

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


class KeySource(Protocol):
    """A source of the issuer's published keys.

    A source may have an attribute `revocations`, an iterable of `Revocation`, which `fetch` updates: the
    tokens that are void although they have not expired.
    """

    async def fetch(self) -> Mapping[str, PublicKey]:
        """Return the keys by key id. May raise any exception; the verifier then keeps the keys it has."""
        ...


class StaticKeys:
    """A key source with fixed keys, which its owner may replace: for the user service itself, and tests."""

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        self.keys = keys

    async def fetch(self) -> Mapping[str, PublicKey]:
        return self.keys


def algorithm_of(key: PublicKey | PrivateKey) -> str:
    """Return the only algorithm that a key may be used with, so that a token cannot choose one.

    Raises:
        ValueError: The key is neither Ed25519 nor on P-256.
    """
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    raise ValueError(f"a key on {key.curve.name} cannot sign tokens: use Ed25519 or P-256")


def jwk(public_key: PublicKey, kid: str) -> str:
    """Return a public key as a JSON Web Key.

    Raises:
        ValueError: The key is neither Ed25519 nor on P-256.
    """
    algorithm = algorithm_of(public_key)
    encoder: Any = OKPAlgorithm if algorithm == "EdDSA" else ECAlgorithm
    fields = json.loads(encoder.to_jwk(public_key))
    fields.pop("key_ops", None)
    return json.dumps({**fields, "kid": kid, "alg": algorithm, "use": "sig"}, sort_keys=True)


def from_jwk(text: str) -> tuple[str, PublicKey]:
    """Return the key id and the public key of a JSON Web Key.

    Raises:
        ValueError: The text is not a public Ed25519 or P-256 key with a key id.
    """
    try:
        fields = json.loads(text)
        decoder = OKPAlgorithm if fields.get("kty") == "OKP" else ECAlgorithm
        key = decoder.from_jwk(fields)
        kid = fields["kid"]
    except (InvalidKeyError, ArithmeticError, AttributeError, LookupError, RecursionError) as e:
        raise ValueError("not a JSON Web Key with a key id") from e
    except (TypeError, ValueError) as e:
        raise ValueError("not a JSON Web Key with a key id") from e
    if not isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) or not isinstance(kid, str):
        raise ValueError("not a public Ed25519 or P-256 key")
    algorithm_of(key)
    return kid, key
