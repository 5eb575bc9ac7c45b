"""Settings of the client: resolver, balancer, connections, retries. Part of `grpcmesh.config`."""

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from grpcmesh.environ import ConfigError, require
from grpcmesh.target import parse_endpoint


def _require_nameserver(text: str) -> None:
    try:
        parse_endpoint(text, 53)
    except ValueError as e:
        raise ConfigError([f"resolver.nameserver: {text!r} is not ADDRESS:PORT: {e}"]) from e


@dataclass(frozen=True)
class ResolverConfig:
    """Settings of the resolver, which finds the endpoints of a name."""

    kind: Literal["dns", "srv"] = "dns"
    """`dns`: A and AAAA records of the headless name, with a fixed port. `srv`: SRV records, with ports."""
    nameserver: str = ""
    """`host:port` of the DNS server, or several, separated by commas. Empty: those of `resolv_conf`."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    """The file that lists the nameservers. It is read again when it changes."""
    port: int = 50051
    """The port of every mesh server (A and AAAA records carry none)."""
    min_interval: float = 1.0
    """Least seconds between two look-ups, whatever the TTL."""
    max_interval: float = 30.0
    """Most seconds between two look-ups, whatever the TTL."""
    timeout: float = 2.0
    """Seconds that one look-up may take."""
    try_interval: float = 0.4
    """Seconds that a nameserver may take before the next one, or the same one again, is asked as well."""
    max_endpoints: int = 1000
    """The most endpoints of one target. If DNS has more, the rest is left out."""
    jitter: float = 0.1
    """Share of the interval by which each wait is randomly shortened."""

    def __post_init__(self) -> None:
        require(0 < self.port < 65536, f"resolver.port: {self.port} is not a port")
        require(
            0 < self.min_interval <= self.max_interval, "resolver.min_interval: must be in (0, max_interval]"
        )
        require(0 < self.timeout < math.inf, "resolver.timeout: must be positive")
        require(0 < self.try_interval <= self.timeout, "resolver.try_interval: must be in (0, timeout]")
        require(self.max_endpoints > 0, "resolver.max_endpoints: must be positive")
        for server in self.nameserver.split(",") if self.nameserver else ():
            _require_nameserver(server.strip())
        require(0 <= self.jitter < 1, "resolver.jitter: must be in [0, 1)")


BalancerPolicyName = Literal["round_robin", "least_request", "peak_ewma", "random", "weighted_round_robin"]


@dataclass(frozen=True)
class BalancerConfig:
    """Settings of load balancing and of connections to endpoints."""

    policy: BalancerPolicyName = "round_robin"
    """The default policy."""
    targets: Mapping[str, BalancerPolicyName] = field(default_factory=dict)
    """Policy by target: `product=least_request,order=random`."""
    slow_start: float = 1.0
    """Seconds in which a new endpoint warms up from a tenth of its share to all of it. 0: at once."""
    ewma_decay: float = 10.0
    """Time constant of peak_ewma's latency average, in seconds."""
    connect_timeout: float = 5.0
    """Seconds that one attempt to connect may take."""
    max_backoff: float = 1.0
    """Most seconds between two attempts to connect to one endpoint."""
    drain_timeout: float = 30.0
    """Seconds that calls under way may take after their endpoint has left DNS."""
    zone: str = ""
    """Prefer endpoints of this zone. Empty: no preference, unless `prefer_own_zone` is set."""
    prefer_own_zone: bool = False
    """Prefer endpoints of the zone in which this process runs (`MESH_ZONE`)."""
    zone_min_endpoints: int = 1
    """Endpoints of the preferred zone that have to be in rotation. With fewer, there is no preference."""

    def __post_init__(self) -> None:
        known = typing.get_args(BalancerPolicyName)
        for policy in (self.policy, *self.targets.values()):
            require(policy in known, f"balancer.policy: {policy!r} is none of {', '.join(known)}")
        for name in ("slow_start", "ewma_decay", "connect_timeout", "max_backoff", "drain_timeout"):
            require(getattr(self, name) >= 0, f"balancer.{name}: must not be negative")
        require(self.zone_min_endpoints > 0, "balancer.zone_min_endpoints: must be positive")


@dataclass(frozen=True)
class ChannelConfig:
    """Settings of the client's connections."""

    max_send_message: int = -1
    """The most bytes of a request. -1: no bound."""
    max_receive_message: int = 4 * 1024 * 1024
    """The most bytes of a response. -1: no bound."""
    members: tuple[str, ...] = ()
    """Targets that are known to be servers of the mesh, which are pinged every ten seconds. `*`: all. Other
    targets are pinged every five minutes, until one of their servers says that it is a member of the mesh."""
    keepalive: Mapping[str, float] = field(default_factory=dict)
    """Seconds between two pings, by target: `product=10,legacy=600`. `*`: all. Overrides `members`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Channel arguments, for all targets or for one:
    `grpc.http2.max_frame_size=65536,product:grpc.optimization_target=latency`."""
    overload_ratio: float = 2.0
    """Calls that are sent for each one that an overloaded target accepts. The others fail at once with
    RESOURCE_EXHAUSTED. 0: all are sent."""

    def __post_init__(self) -> None:
        require(
            self.overload_ratio == 0 or self.overload_ratio > 1,
            "channel.overload_ratio: must be above 1, or 0",
        )
        require(self.max_send_message >= -1, "channel.max_send_message: must be a size or -1")
        require(self.max_receive_message >= -1, "channel.max_receive_message: must be a size or -1")
        for target, seconds in self.keepalive.items():
            require(seconds > 0, f"channel.keepalive: {target}: must be positive")

    def is_member(self, target: str) -> bool:
        """Return whether the target is declared to be a member of the mesh."""
        return target in self.members or "*" in self.members

    def keepalive_of(self, target: str) -> float | None:
        """Return the seconds between two pings that are set for a target, or None."""
        return self.keepalive.get(target, self.keepalive.get("*"))

    def options_of(self, target: str) -> dict[str, int | str]:
        """Return the channel arguments of a target. Its own override those for all targets."""
        found: dict[str, int | str] = {}
        for own in (False, True):
            for key, value in self.options.items():
                of, colon, name = key.rpartition(":")
                if bool(colon) is own and of in ("", target):
                    found[name] = int(value) if value.lstrip("-").isdigit() else value
        return found


@dataclass(frozen=True)
class RetryConfig:
    """Settings of retries."""

    max_attempts: int = 4
    """Attempts of one call, including the first. 1 switches retries off."""
    codes: tuple[str, ...] = ("UNAVAILABLE",)
    """Status codes that may be retried, for methods declared idempotent in the proto."""
    base_backoff: float = 0.02
    """Upper bound of the first wait in seconds (full jitter)."""
    max_backoff: float = 1.0
    """Upper bound of any wait in seconds."""
    budget_ratio: float = 0.2
    """The largest share of calls that may be retries."""
    budget_floor: float = 10.0
    """Retries per second that are always allowed."""

    def __post_init__(self) -> None:
        require(self.max_attempts >= 1, "retry.max_attempts: must be at least 1")
        require(0 < self.base_backoff <= self.max_backoff, "retry.base_backoff: must be in (0, max_backoff]")
        require(0 <= self.budget_ratio <= 1, "retry.budget_ratio: must be in [0, 1]")
        require(self.budget_floor >= 0, "retry.budget_floor: must not be negative")
