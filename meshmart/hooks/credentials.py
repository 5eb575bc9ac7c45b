"""Creates the secrets that the chart is not given, before an install: `python -m meshmart.hooks.credentials`.

These are the password of the bundled database in `meshmart-database`, the role and password of each service
in `meshmart-database-SERVICE`, the first key that signs user tokens in `user-signing-keys`, and the token
that the console presents at admin ports in `meshmart-admin-token`. Existing secrets are not changed, and an
uninstall keeps them: a volume that outlives the release knows no other password.
"""

import argparse
import datetime
import secrets
import sys
import urllib.parse
from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from meshmart.hooks.api import ApiError, Namespace

DATABASE, SIGNING_KEYS = "meshmart-database", "user-signing-keys"
ADMIN_TOKEN = "meshmart-admin-token"
#: The random bytes of a password.
_LENGTH = 24


def database(host: str) -> Mapping[str, bytes]:
    """Return a new password, and the URL with it."""
    password = secrets.token_urlsafe(_LENGTH)  # characters that a URL need not quote
    url = f"postgresql://meshmart:{password}@{host}:5432/meshmart"
    return {"password": password.encode(), "url": url.encode()}


def role(url: str, service: str) -> Mapping[str, bytes]:
    """Return the URL with which a service logs in: the owner's, with a role and a password of its own.

    Args:
        url: `postgresql://OWNER…@HOST…`; the role is `OWNER_SERVICE`.
        service: The service.
    """
    parts = urllib.parse.urlsplit(url)
    owner, _, host = parts.netloc.rpartition("@")
    name, password = f"{owner.partition(':')[0]}_{service}", secrets.token_urlsafe(_LENGTH)
    own = parts._replace(netloc=f"{name}:{password}@{host}").geturl()
    return {"password": password.encode(), "url": own.encode()}


def signing_key(now: datetime.datetime) -> Mapping[str, bytes]:
    """Return a new key, `KID.pem`; the newest key by name signs."""
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {f"{now:%Y%m%dT%H%M%SZ}.pem": pem}


def main(arguments: list[str]) -> int:
    """Return the exit status: 0, or 1 if the cluster refuses a request."""
    parser = argparse.ArgumentParser(prog="credentials", description="Makes what is missing.")
    parser.add_argument("--database", metavar="HOST", default="")
    parser.add_argument("--signing-keys", action="store_true")
    parser.add_argument("--admin-token", action="store_true")
    parser.add_argument("--role", action="append", default=[], metavar="SERVICE")
    parser.add_argument(
        "--roles-at",
        metavar="HOST",
        default="",
        help="host of the bundled database",
    )
    parser.add_argument(
        "--roles-like",
        metavar="SECRET",
        default="",
        help="secret with the URL of the database's owner",
    )
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    labels = dict(label.split("=", 1) for label in given.label)
    wanted = dict[str, Mapping[str, bytes]]()
    if given.database:
        wanted[DATABASE] = database(given.database)
    if given.signing_keys:
        wanted[SIGNING_KEYS] = signing_key(datetime.datetime.now(datetime.UTC))
    if given.admin_token:
        wanted[ADMIN_TOKEN] = {"token": secrets.token_urlsafe(_LENGTH).encode()}
    try:
        namespace = Namespace.of_this_pod()
        owner = _owner(namespace, given.roles_at, given.roles_like) if given.role else ""
        wanted |= {f"{DATABASE}-{service}": role(owner, service) for service in given.role}
        for name, data in wanted.items():
            made = namespace.create_kept(name, data, labels)
            sys.stdout.write(f"{name}: {'made' if made else 'is there'}\n")
    except ApiError as e:
        sys.stderr.write(f"credentials: {e}\n")
        return 1
    return 0


def _owner(namespace: Namespace, host: str, secret: str) -> str:
    """Return the owner's URL, from which those of the services are derived.

    Raises:
        ApiError: the Secret does not exist, or holds no such URL.
    """
    if host:
        return f"postgresql://meshmart@{host}:5432/meshmart"
    url = (namespace.read(secret) or {}).get("url", b"").decode(errors="replace").strip()
    if "@" not in urllib.parse.urlsplit(url).netloc:
        raise ApiError(0, f"the Secret {secret} has no key url with postgresql://USER:PASSWORD@HOST…")
    return url


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
