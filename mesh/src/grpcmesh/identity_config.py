"""Settings of identities: certificates, authorization, users' tokens. Part of `grpcmesh.config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from grpcmesh.environ import ConfigError, require
from grpcmesh.spiffe import domain_of, is_pattern, is_trust_domain
from grpcmesh.urls import https_parts, without_secrets

#: In `IdentityConfig.servers`: the DNS name decides alone.
DNS_ONLY = "dns"
#: How the address of a SPIFFE Workload API begins, with an absolute path.
SOCKET_SCHEME = "unix:///"
#: The signature algorithms of users' tokens. Each belongs to one type of key. `none` and HMAC are not among
#: them and cannot be.
ALGORITHMS = ("EdDSA", "ES256", "RS256")

#: What the SPIFFE ID standard allows (2.1).
_FORM = ": use 1 to 255 of a-z, 0-9, dot, dash and underscore"


@dataclass(frozen=True)
class IdentityConfig:
    """Settings of certificates."""

    directory: Path = Path("/var/run/mesh/tls")
    """Directory with tls.crt, tls.key and, unless `bundle` is set, ca.crt."""
    bundle: Path | None = None
    """File with the trust bundle, if it is outside the directory."""
    poll_interval: float = 1.0
    """Seconds between two looks at the files."""
    trust_domain: str = "cluster.local"
    """The SPIFFE trust domain of this process. Peers are of it, or of one of `bundles`."""
    spiffe_id: str = ""
    """The SPIFFE id of this process, or a pattern of ids: `spiffe://example.org/web/*`. Empty:
    `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE`."""
    bundles: Mapping[str, str] = field(default_factory=dict)
    """Files with the trust bundles of other trust domains: `partner.example=/etc/mesh/partner.pem`. Each
    verifies the workloads of its own domain only."""
    endpoint_socket: str = ""
    """The SPIFFE Workload API, `unix:///run/spire/agent.sock`, which gives certificates and bundles in place
    of files. Default: SPIFFE_ENDPOINT_SOCKET, unless `directory` is set."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """Expected identities by target: `payment=spiffe://bank/ns/live/sa/payment,api.example.com=dns`. Each is
    a SPIFFE id, a pattern of ids (`spiffe://bank/*/payment`), or `dns` for a server outside the mesh, for
    which only the DNS name is checked. The default is `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE` for
    services of the cluster, and `dns` for others."""

    def __post_init__(self) -> None:
        require(self.poll_interval > 0, "identity.poll_interval: must be positive")
        good = is_trust_domain(self.trust_domain)
        require(good, f"identity.trust_domain: {self.trust_domain!r} is no name of a trust domain{_FORM}")
        for target, expected in self.servers.items():
            known = expected == DNS_ONLY or is_pattern(expected)
            require(known, f"identity.servers: {target}={expected!r} is neither a SPIFFE id nor {DNS_ONLY}")
        own = not self.spiffe_id or domain_of(self.spiffe_id) == self.trust_domain
        text = f"identity.spiffe_id: {self.spiffe_id!r} is not a SPIFFE id of the trust domain"
        require(own, f"{text} {self.trust_domain}")
        for domain in self.bundles:
            good = is_trust_domain(domain) and domain != self.trust_domain
            require(good, f"identity.bundles: {domain!r} is not the name of another trust domain")
        socket = self.endpoint_socket
        good = not socket or socket.startswith(SOCKET_SCHEME)
        require(good, f"identity.endpoint_socket: {socket!r} must be {SOCKET_SCHEME}PATH")


@dataclass(frozen=True)
class AuthzConfig:
    """Settings of authorization."""

    policy_file: Path | None = None
    """TOML file with `[[allow]]` (workloads) and `[users]`. None: all calls are denied."""
    poll_interval: float = 1.0
    """Seconds between two looks at the file."""


@dataclass(frozen=True)
class AuthConfig:
    """Settings of user tokens."""

    issuer: str = ""
    """The `iss` of tokens whose keys the program provides (`mesh.server(keys=…)`). Has to be set there."""
    audience: str = ""
    """The `aud` that a token must carry, unless its `aud` is the SPIFFE id of the server itself. Has to be
    set where tokens are verified."""
    subjects: Literal["number", "text"] = "number"
    """The form of `sub` in tokens of `issuer`: the decimal id of a user, or any text."""
    roles_claim: str = "roles"
    """The claim with a user's roles: its name, or its place, such as `realm_access.roles`."""
    issuers: Mapping[str, str] = field(default_factory=dict)
    """Identity providers whose tokens are accepted, too: `corp=https://login.example.com/realms/staff`. Each
    is the exact `iss`; the name on the left is the key in the settings below."""
    audiences: Mapping[str, str] = field(default_factory=dict)
    """The audiences of each of `issuers`, separated by spaces: `corp=shop api://shop`. Default:
    `audience`."""
    jwks: Mapping[str, str] = field(default_factory=dict)
    """Where the keys of each of `issuers` are: `corp=https://login.example.com/keys`, or `file:///…`.
    Default: where its OpenID Connect discovery document says."""
    roles_claims: Mapping[str, str] = field(default_factory=dict)
    """The claim with the roles of each of `issuers`: `corp=realm_access.roles`. Default:
    `roles_claim`."""
    algorithms: tuple[str, ...] = ALGORITHMS
    """Signature algorithms that are allowed. Keys for other ones are not used."""
    ca_file: Path | None = None
    """The CAs of the identity providers' HTTPS servers, in PEM. None: those of the system."""
    fetch_timeout: float = 5.0
    """Seconds that an identity provider has to answer."""
    stale_limit: float = 86400.0
    """Seconds for which keys are used that cannot be fetched again."""
    leeway: float = 5.0
    """Seconds of clock skew that are tolerated."""
    refresh_interval: float = 30.0
    """Seconds between two fetches of the published keys and revocations. Keys over HTTPS are fetched when
    their Cache-Control says, at least every hour and at most every minute."""
    cache_size: int = 4096
    """The most verified tokens in the cache."""
    keys_timeout: float = 30.0
    """Seconds for which the start waits for the first keys. Then the server reports SERVING without them.
    Once an issuer has answered, the others have `fetch_timeout` from the start."""

    def __post_init__(self) -> None:
        require(self.keys_timeout >= 0, "auth.keys_timeout: must not be negative")
        for name in ("fetch_timeout", "stale_limit", "refresh_interval"):
            require(getattr(self, name) > 0, f"auth.{name}: must be positive")
        require(bool(self.roles_claim), "auth.roles_claim: must not be empty")
        known = bool(self.algorithms) and set(self.algorithms) <= set(ALGORITHMS)
        require(known, f"auth.algorithms: must be some of {', '.join(ALGORITHMS)}")
        for name in ("audiences", "jwks", "roles_claims"):
            self._require_of_issuers(name, getattr(self, name))
        for name, issuer in self.issuers.items():
            _require_https("issuers", name, issuer)
        for name, where in self.jwks.items():
            if not where.startswith("file:///"):
                _require_https("jwks", name, where)
        all_issuers = [self.issuer, *self.issuers.values()]
        twice = next((issuer for issuer in all_issuers if all_issuers.count(issuer) > 1), "")
        require(not twice, f"auth.issuers: {twice} is there twice, or is auth.issuer, too")
        lacking = next((name for name in self.issuers if not (self.audience or name in self.audiences)), "")
        require(not lacking, f"auth.audiences: set that of {lacking}, or MESH_AUTH_AUDIENCE")

    def require_own_issuer(self) -> None:
        """Raise ConfigError if `issuer` or `audience` is missing, which tokens of that issuer need."""
        missing = [name for name in ("issuer", "audience") if not getattr(self, name)]
        told = "has to be set, because the program provides the keys of tokens"
        if missing:
            raise ConfigError([f"MESH_AUTH_{name.upper()}: {told}" for name in missing])

    def _require_of_issuers(self, name: str, values: Mapping[str, str]) -> None:
        for key, value in values.items():
            require(key in self.issuers, f"auth.{name}: {key!r} is none of auth.issuers")
            require(bool(value.strip()), f"auth.{name}: {key}: must not be empty")


def _require_https(field: str, name: str, url: str) -> None:
    try:
        https_parts(url)
    except ValueError as e:
        raise ConfigError([f"auth.{field}: {name}={without_secrets(url)[:200]!r}: {e}"]) from e
