"""Before an install: `python -m meshmart.hooks.credentials` makes the secrets that the chart is not given.

The password of the bundled database in `meshmart-database`, the first key that signs user tokens in
`user-signing-keys`. What is there is left as it is, and is kept by an uninstall: a volume that outlives the
release knows no other password.
"""

import argparse
import datetime
import secrets
import sys
from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshmart.hooks.api import ApiError, Namespace

DATABASE, SIGNING_KEYS = "meshmart-database", "user-signing-keys"
#: Bytes of a password.
_LENGTH = 24


def database(host: str) -> Mapping[str, bytes]:
    """A new password, and the URL with it."""
    password = secrets.token_urlsafe(_LENGTH)  # of letters that a URL need not quote
    url = f"postgresql://meshmart:{password}@{host}:5432/meshmart"
    return {"password": password.encode(), "url": url.encode()}


def signing_key(now: datetime.datetime) -> Mapping[str, bytes]:
    """A new key, `KID.pem`: the newest by name signs."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {f"{now:%Y%m%dT%H%M%SZ}.pem": pem}


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0, 1 where the cluster does not let it."""
    parser = argparse.ArgumentParser(prog="credentials", description="Makes what is missing.")
    parser.add_argument("--database", metavar="HOST", default="")
    parser.add_argument("--signing-keys", action="store_true")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    labels = dict(label.split("=", 1) for label in given.label)
    wanted = dict[str, Mapping[str, bytes]]()
    if given.database:
        wanted[DATABASE] = database(given.database)
    if given.signing_keys:
        wanted[SIGNING_KEYS] = signing_key(datetime.datetime.now(datetime.UTC))
    try:
        namespace = Namespace.of_this_pod()
        for name, data in wanted.items():
            made = namespace.create_kept(name, data, labels)
            sys.stdout.write(f"{name}: {'made' if made else 'is there'}\n")
    except ApiError as e:
        sys.stderr.write(f"credentials: {e}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
