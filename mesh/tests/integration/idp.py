"""An identity provider for tests: HTTPS with a certificate of a CA of its own, good and hostile."""

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from grpcmesh.auth import TokenVerifier, jwk
from grpcmesh.config import MeshConfig
from tests.pki import Authority

#: Seconds that a fetch may take where it is to succeed: machines are shared.
PATIENCE = 60.0
DISCOVERY = "/realms/shop/.well-known/openid-configuration"
KEYS = "/realms/shop/keys"
#: Keys that providers have in turn: making one takes long.
_RSA = itertools.cycle([rsa.generate_private_key(65537, 2048) for _ in range(2)])
#: Serves one connection by hand.
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(body: bytes | str, status: str = "200 OK", **headers: str) -> bytes:
    """Return an HTTP answer. Headers are named with underscores."""
    content = body if isinstance(body, bytes) else body.encode()
    given = {"content_length": str(len(content)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + content


class Provider:
    """The provider. Its answers are attributes that a test changes.

    Args:
        directory: For its files.
        names: DNS names of its certificate.
    """

    def __init__(self, directory: Path, names: tuple[str, ...] = ("localhost",)) -> None:
        self.directory = directory
        self.authority = Authority("idp")
        self.keys: dict[str, Any] = {"r1": next(_RSA)}
        self.cache_control = "max-age=600"
        #: Answers by path, which replace the good ones.
        self.answers: dict[str, bytes | Handler] = {}
        #: The paths that were asked for.
        self.asked: list[str] = []
        self.port = 0
        self._leaf = self.authority.issue(dns=names)

    @property
    def ca_file(self) -> Path:
        return self.directory / "idp-ca.pem"

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def issuer(self) -> str:
        return f"{self.base}/realms/shop"

    def settings(self, **more: str) -> dict[str, str]:
        """Return the variables of a server that trusts this provider."""
        return {
            "MESH_AUTH_ISSUERS": f"corp={self.issuer}",
            "MESH_AUTH_AUDIENCE": "staff",
            "MESH_AUTH_CA_FILE": str(self.ca_file),
            "MESH_AUTH_ROLES_CLAIMS": "corp=realm_access.roles",
            **more,
        }

    def token(self, kid: str = "r1", key: Any = None, header: Any = None, **claims: Any) -> str:
        key = key or self.keys[kid]
        algorithm = (
            "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey)
            else "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        )  # fmt: skip
        good = {
            "iss": self.issuer, "aud": "staff", "sub": "f81d4fae", "exp": 4_000_000_000,
            "realm_access": {"roles": ["admin"]},
        }  # fmt: skip
        return jwt.encode({**good, **claims}, key, algorithm, headers={"kid": kid, **(header or {})})

    def good(self, path: str) -> bytes:
        if path == DISCOVERY:
            return answer(json.dumps({"issuer": self.issuer, "jwks_uri": self.base + KEYS}))
        if path == KEYS:
            published = [json.loads(jwk(key.public_key(), kid)) for kid, key in self.keys.items()]
            return answer(json.dumps({"keys": published}), cache_control=self.cache_control)
        return answer("", "404 Not Found")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split()[1].decode()
            self.asked.append(path)
            found = self.answers.get(path, b"") or self.good(path)
            if isinstance(found, bytes):
                writer.write(found)
                await writer.drain()
            else:
                await found(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left, which it may at any time
        finally:
            writer.close()

    def context(self) -> ssl.SSLContext:
        """Write the files, and return the TLS settings."""
        self.ca_file.write_bytes(self.authority.pem)
        (self.directory / "idp.pem").write_bytes(self._leaf.crt + self._leaf.key_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "idp.pem")
        return context


def verifier(idp: Provider, *, own: str = "", monotonic: Any = None, **more: str) -> TokenVerifier:
    environ = idp.settings(MESH_AUTH_FETCH_TIMEOUT=str(PATIENCE), **more)
    config = MeshConfig.from_env(environ, service="ping").auth
    clock = {"monotonic": monotonic} if monotonic else {}
    return TokenVerifier(config, own=own, **clock)


@asynccontextmanager
async def provider(directory: Path, names: tuple[str, ...] = ("localhost",)) -> AsyncIterator[Provider]:
    """Run an identity provider."""
    made = Provider(directory, names)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=made.context())
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
