"""Settings of identities: certificates, authorization, users' tokens. Part of `grpcmesh.config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpcmesh.environ import require
from grpcmesh.spiffe import is_spiffe_id

#: In `IdentityConfig.servers`: the DNS name decides alone.
DNS_ONLY = "dns"


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
    """The SPIFFE trust domain of peers."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """Expected identities by target: `payment=spiffe://bank/ns/live/sa/payment,api.example.com=dns`. Each is
    a SPIFFE id, or `dns` for a server outside the mesh, for which only the DNS name is checked. The default
    is `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE` for services of the cluster, and `dns` for others."""

    def __post_init__(self) -> None:
        require(self.poll_interval > 0, "identity.poll_interval: must be positive")
        require(bool(self.trust_domain), "identity.trust_domain: must not be empty")
        for target, expected in self.servers.items():
            known = expected == DNS_ONLY or is_spiffe_id(expected)
            require(known, f"identity.servers: {target}={expected!r} is neither a SPIFFE id nor {DNS_ONLY}")


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

    issuer: str = "https://user.meshmart"
    """The `iss` that a token must carry."""
    audience: str = "meshmart"
    """The `aud` that a token must carry, unless its `aud` is the SPIFFE id of the server itself."""
    leeway: float = 5.0
    """Seconds of clock skew that are tolerated."""
    refresh_interval: float = 30.0
    """Seconds between two fetches of the published keys and revocations."""
    cache_size: int = 4096
    """The most verified tokens in the cache."""
    keys_timeout: float = 30.0
    """Seconds for which the start waits for the first keys. Then the server reports SERVING without them."""

    def __post_init__(self) -> None:
        require(self.keys_timeout >= 0, "auth.keys_timeout: must not be negative")
