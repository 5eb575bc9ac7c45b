"""Creates the keys that sign the user service's tokens, and installs the policy file."""

import datetime
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import services
from local.state import StateDir, write_file


def ensure_signing_key(state: StateDir) -> Path:
    """Return the path of an Ed25519 private key in `STATE_DIR/keys`, and create the first one.

    The file's stem is the key id; the newest key by name signs.
    """
    state.keys.mkdir(mode=0o700, exist_ok=True)
    present = sorted(state.keys.glob("*.pem"))
    if present:
        return present[-1]
    path = state.keys / f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}.pem"
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_file(path, pem)
    return path


def install_policy(state: StateDir) -> None:
    """Copy the shop's policy to where every process reads it. An upgrade replaces it."""
    source = Path(services.__file__).with_name("policy.toml")
    write_file(state.policy, source.read_bytes())
