"""Settings of who is who: certificates, the policy of workloads, users' tokens. Part of `grpcmesh.config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpcmesh.environ import require
from grpcmesh.spiffe import is_spiffe_id

#: In `IdentityConfig.servers`: the DNS name decides alone.
DNS_ONLY = "dns"


@dataclass(frozen=True)
class IdentityConfig:
    """Where the certificates lie."""

    directory: Path = Path("/var/run/mesh/tls")
    """Holds tls.crt, tls.key and, unless `bundle` is set, ca.crt."""
    bundle: Path | None = None
    """The trust bundle, where it lies elsewhere."""
    poll_interval: float = 1.0
    """How often the content is looked at."""
    trust_domain: str = "cluster.local"
    """The SPIFFE trust domain of peers."""
    servers: Mapping[str, str] = field(default_factory=dict)
    """Whom to expect behind a target: `payment=spiffe://bank/ns/live/sa/payment,api.example.com=dns`. A whole
    SPIFFE id, or `dns` for a server outside of the mesh, of which only the DNS name is compared. By default
    it is `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE` for a service of the cluster, `dns` for others."""

    def __post_init__(self) -> None:
        require(self.poll_interval > 0, "identity.poll_interval: must be positive")
        require(bool(self.trust_domain), "identity.trust_domain: must not be empty")
        for target, expected in self.servers.items():
            known = expected == DNS_ONLY or is_spiffe_id(expected)
            require(known, f"identity.servers: {target}={expected!r} is neither a SPIFFE id nor {DNS_ONLY}")


@dataclass(frozen=True)
class AuthzConfig:
    """Which workload may call which method."""

    policy_file: Path | None = None
    """TOML with `[[allow]]` (workloads) and `[users]`; None denies everything."""
    poll_interval: float = 1.0
    """How often the file is looked at."""


@dataclass(frozen=True)
class AuthConfig:
    """Tokens of users."""

    issuer: str = "https://user.meshmart"
    """The `iss` that a token must carry."""
    audience: str = "meshmart"
    """The `aud` that a token must carry, unless that is the SPIFFE id of the server itself."""
    leeway: float = 5.0
    """Clock skew that is forgiven."""
    refresh_interval: float = 30.0
    """How often the published keys are fetched anew, and with them what has been revoked."""
    cache_size: int = 4096
    """Verified tokens kept until they expire."""
