"""Sources of an identity provider's keys: OpenID Connect discovery, a JWKS over HTTPS, or a file."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import unquote

from grpcmesh.auth import https
from grpcmesh.auth.jwks import read_discovery, read_jwks
from grpcmesh.auth.keys import PublicKey
from grpcmesh.auth.problems import KeyCause, KeysError
from grpcmesh.identity_config import ALGORITHMS, AuthConfig
from grpcmesh.urls import without_secrets

#: Bounds of the seconds for which keys are fresh, and the seconds if their server does not say.
SHORTEST, LONGEST, USUAL = 60.0, 3600.0, 300.0
#: Least seconds between two fetches, and the longest wait after a failed one.
LEAST_INTERVAL, LONGEST_BACKOFF = 5.0, 30.0
_FILE = "file://"
_WELL_KNOWN = "/.well-known/openid-configuration"


class JwksKeys:
    """The keys that a JWKS over HTTPS publishes. A `KeySource`.

    Args:
        url: The `https` URL of the key set.
        algorithms: The signature algorithms that are allowed.
        ca_file: The CAs of the server, in PEM. None: those of the system.
        timeout: Seconds that a fetch may take.

    Raises:
        ValueError: The URL is not of `https`.
    """

    least_interval, longest_backoff = LEAST_INTERVAL, LONGEST_BACKOFF

    def __init__(
        self,
        url: str,
        *,
        algorithms: Collection[str] = ALGORITHMS,
        ca_file: Path | None = None,
        timeout: float = 5.0,
    ) -> None:
        https.Address.parse(url)
        self._url, self._algorithms, self._ca_file, self._timeout = url, algorithms, ca_file, timeout
        #: Seconds from the last fetch to the next one.
        self.fresh_for = USUAL

    async def fetch(self) -> Mapping[str, PublicKey]:
        """Return the keys by key id. Raises KeysError."""
        answer = await https.get(self._url, ca_file=self._ca_file, timeout=self._timeout)
        # A key takes up to a millisecond to decode.
        keys = await asyncio.to_thread(read_jwks, answer.body, self._algorithms, without_secrets(self._url))
        said = USUAL if answer.fresh_for is None else answer.fresh_for
        self.fresh_for = min(max(said, SHORTEST), LONGEST)
        return keys


class DiscoveredKeys:
    """The keys of an OpenID Connect provider, whose address its discovery document names. A `KeySource`.

    The document is read at the first fetch, again every hour, and after a fetch that failed.

    Args:
        issuer: The issuer, an `https` URL. The document must name exactly it.
        algorithms, ca_file, timeout: See `JwksKeys`. The document has the same timeout of its own.

    Raises:
        ValueError: The issuer is not an `https` URL.
    """

    least_interval, longest_backoff = LEAST_INTERVAL, LONGEST_BACKOFF

    def __init__(
        self,
        issuer: str,
        *,
        algorithms: Collection[str] = ALGORITHMS,
        ca_file: Path | None = None,
        timeout: float = 5.0,
    ) -> None:
        https.Address.parse(issuer)
        self._issuer, self._algorithms, self._ca_file, self._timeout = issuer, algorithms, ca_file, timeout
        self._keys: JwksKeys | None = None
        self._discovered = 0.0
        self.fresh_for = USUAL

    async def fetch(self) -> Mapping[str, PublicKey]:
        """Return the keys by key id. Raises KeysError."""
        now = asyncio.get_running_loop().time()
        if self._keys is None or now >= self._discovered + LONGEST:
            self._keys, self._discovered = await self._discover(), now
        try:
            keys = await self._keys.fetch()
        except Exception:
            self._keys = None  # the provider may have moved them
            raise
        self.fresh_for = self._keys.fresh_for
        return keys

    async def _discover(self) -> JwksKeys:
        where = self._issuer.rstrip("/") + _WELL_KNOWN
        answer = await https.get(where, ca_file=self._ca_file, timeout=self._timeout)
        uri = read_discovery(answer.body, self._issuer, where)
        try:
            return JwksKeys(uri, algorithms=self._algorithms, ca_file=self._ca_file, timeout=self._timeout)
        except ValueError as e:
            raise KeysError(KeyCause.NOT_HTTPS, f"{where}: jwks_uri: {e}") from None


class FileKeys:
    """The keys in a JWKS file, which is read at each fetch. A `KeySource`.

    Args:
        path: The file.
        algorithms: The signature algorithms that are allowed.
    """

    def __init__(self, path: Path, *, algorithms: Collection[str] = ALGORITHMS) -> None:
        self._path, self._algorithms = path, algorithms

    async def fetch(self) -> Mapping[str, PublicKey]:
        """Return the keys by key id. Raises KeysError."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Mapping[str, PublicKey]:
        try:
            with self._path.open("rb") as file:
                body = file.read(https.MAX_BODY + 1)
        except OSError as e:
            raise KeysError(KeyCause.UNREADABLE, f"{self._path}: {e.strerror or e}") from None
        if len(body) > https.MAX_BODY:
            raise KeysError(KeyCause.TOO_LARGE, f"{self._path} has more than {https.MAX_BODY} bytes")
        return read_jwks(body, self._algorithms, str(self._path))


def source_of(config: AuthConfig, name: str) -> JwksKeys | DiscoveredKeys | FileKeys:
    """Return the source of the keys of an issuer, by its name in `config.issuers`."""
    where = config.jwks.get(name, "")
    if where.startswith(_FILE):
        return FileKeys(Path(unquote(where.removeprefix(_FILE))), algorithms=config.algorithms)
    kind = JwksKeys if where else DiscoveredKeys
    return kind(
        where or config.issuers[name],
        algorithms=config.algorithms,
        ca_file=config.ca_file,
        timeout=config.fetch_timeout,
    )
