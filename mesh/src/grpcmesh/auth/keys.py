"""Keys that verify tokens: Ed25519, P-256 or RSA, and their form on the wire (JWK, RFC 7517 and RFC 8037)."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey


#: Bits of an RSA key: RFC 7518 (3.3) demands 2048, and the time to verify grows with the square.
_RSA_BITS = range(2048, 8193)
#: The most characters of an RSA key's modulus and exponent in base64. Longer ones are not decoded.
_LONGEST_MODULUS, _LONGEST_EXPONENT = 1400, 8
_KINDS: Mapping[str, Any] = {"OKP": OKPAlgorithm, "EC": ECAlgorithm, "RSA": RSAAlgorithm}


class KeySource(Protocol):
    """A source of the issuer's published keys.

    A source may have more attributes, which are read after each `fetch`:

    - `revocations`: an iterable of `Revocation`: the tokens that are void although they have not expired.
    - `fresh_for`: seconds until the keys should be fetched again, instead of `MESH_AUTH_REFRESH_INTERVAL`.
    - `least_interval`: least seconds between two fetches that unknown key ids cause (1).
    - `longest_backoff`: the longest wait after a failed fetch, in seconds (1).
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
        ValueError: The key is neither Ed25519 nor on P-256, nor an RSA key of 2048 to 8192 bits.
    """
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size in _RSA_BITS:
            return "RS256"
        raise ValueError(f"an RSA key of {key.key_size} bits cannot sign tokens: use at least 2048")
    if isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    raise ValueError(f"a key on {key.curve.name} cannot sign tokens: use Ed25519 or P-256")


def jwk(public_key: PublicKey, kid: str) -> str:
    """Return a public key as a JSON Web Key.

    Raises:
        ValueError: The key is of no kind that can sign tokens.
    """
    algorithm = algorithm_of(public_key)
    encoder: Any = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "RS256": RSAAlgorithm}[algorithm]
    fields = json.loads(encoder.to_jwk(public_key))
    fields.pop("key_ops", None)
    return json.dumps({**fields, "kid": kid, "alg": algorithm, "use": "sig"}, sort_keys=True)


def from_jwk(text: str) -> tuple[str, PublicKey]:
    """Return the key id and the public key of a JSON Web Key.

    Raises:
        ValueError: The text is not a public Ed25519, P-256 or RSA key with a key id.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ValueError("not a JSON Web Key with a key id") from e
    if not isinstance(fields, dict) or not isinstance(kid := fields.get("kid"), str):
        raise ValueError("not a JSON Web Key with a key id")
    return kid, key_of(fields)


def key_of(fields: Mapping[str, Any]) -> PublicKey:
    """Return the public key of a JSON Web Key, which may come from anybody.

    Raises:
        ValueError: The fields are not a public Ed25519, P-256 or RSA key.
    """
    if fields.get("kty") == "RSA":
        _require_small(fields)
    try:
        key = _KINDS[fields["kty"]].from_jwk(dict(fields))
    except (InvalidKeyError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
        raise ValueError("not a JSON Web Key that can be read") from e
    if not isinstance(key, PublicKey):
        raise ValueError("not a public Ed25519, P-256 or RSA key")
    algorithm_of(key)
    if isinstance(key, rsa.RSAPublicKey) and not key.public_numbers().n % 2:
        raise ValueError("not an RSA key: its modulus is even")
    return key


def _require_small(fields: Mapping[str, Any]) -> None:
    """Refuse RSA keys that take long to decode. Raises ValueError."""
    for name, longest in (("n", _LONGEST_MODULUS), ("e", _LONGEST_EXPONENT)):
        value = fields.get(name)
        if not isinstance(value, str) or len(value) > longest:
            raise ValueError(f"not a JSON Web Key that can be read: {name}")
