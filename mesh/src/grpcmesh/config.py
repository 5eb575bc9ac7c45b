"""Every setting of the mesh: frozen dataclasses, validated at construction, read from the environment once.

The variable of a field is `MESH_<CONCERN>_<FIELD>`, such as `MESH_RESOLVER_NAMESERVER`; those of
`MeshConfig` itself have no concern: `MESH_SERVICE`. Durations are seconds. `from_env` reports every
bad variable at once.
"""

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from grpcmesh.environ import ConfigError as ConfigError
from grpcmesh.environ import EnvironReader
from grpcmesh.environ import require as _require
from grpcmesh.identity_config import AuthConfig as AuthConfig
from grpcmesh.identity_config import AuthzConfig as AuthzConfig
from grpcmesh.identity_config import IdentityConfig as IdentityConfig
from grpcmesh.ports_config import AdminConfig as AdminConfig
from grpcmesh.ports_config import HealthConfig as HealthConfig
from grpcmesh.ports_config import ServerConfig as ServerConfig
from grpcmesh.target import Target, is_zone, parse_endpoint


def _require_nameserver(text: str) -> None:
    try:
        parse_endpoint(text, 53)
    except ValueError as e:
        raise ConfigError([f"resolver.nameserver: {text!r} is not ADDRESS:PORT: {e}"]) from e


@dataclass(frozen=True)
class ResolverConfig:
    """How names become endpoints."""

    kind: Literal["dns", "srv"] = "dns"
    """`dns`: A and AAAA of the headless name, on the fixed port. `srv`: SRV, where the port is not fixed."""
    nameserver: str = ""
    """`host:port` of the DNS server, or several with commas between; empty: those of `resolv_conf`."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    """Where nameservers are listed; read again when it changes."""
    port: int = 50051
    """The port of every mesh server (A and AAAA records carry none)."""
    min_interval: float = 1.0
    """Never asks more often than this, whatever the TTL."""
    max_interval: float = 30.0
    """Asks at least this often, whatever the TTL."""
    timeout: float = 2.0
    """How long one look-up may take."""
    try_interval: float = 0.4
    """How long a nameserver may take before the next one is asked as well, or the same one again."""
    max_endpoints: int = 1000
    """Endpoints of one target; DNS may name more, which are left out."""
    jitter: float = 0.1
    """Share of the interval by which each wait is randomly shortened."""

    def __post_init__(self) -> None:
        _require(0 < self.port < 65536, f"resolver.port: {self.port} is not a port")
        _require(
            0 < self.min_interval <= self.max_interval, "resolver.min_interval: must be in (0, max_interval]"
        )
        _require(0 < self.timeout < math.inf, "resolver.timeout: must be positive")
        _require(0 < self.try_interval <= self.timeout, "resolver.try_interval: must be in (0, timeout]")
        _require(self.max_endpoints > 0, "resolver.max_endpoints: must be positive")
        for server in self.nameserver.split(",") if self.nameserver else ():
            _require_nameserver(server.strip())
        _require(0 <= self.jitter < 1, "resolver.jitter: must be in [0, 1)")


BalancerPolicy = Literal["round_robin", "least_request", "peak_ewma", "random", "weighted_round_robin"]


@dataclass(frozen=True)
class BalancerConfig:
    """How a call picks its endpoint."""

    policy: BalancerPolicy = "round_robin"
    """The default policy."""
    targets: Mapping[str, BalancerPolicy] = field(default_factory=dict)
    """Policy by target: `product=least_request,order=random`."""
    slow_start: float = 1.0
    """How long a new endpoint warms up from a tenth of its share to all of it; 0: at once."""
    ewma_decay: float = 10.0
    """Time constant of peak_ewma's latency average."""
    connect_timeout: float = 5.0
    """How long a new endpoint may take to connect before it is tried afresh."""
    max_backoff: float = 1.0
    """Longest wait between two connection attempts to one endpoint."""
    drain_timeout: float = 30.0
    """How long an endpoint that left DNS may take to finish its calls."""
    zone: str = ""
    """Prefer endpoints of this zone; empty: no preference, or that for the process's own."""
    prefer_own_zone: bool = False
    """Prefer endpoints of the zone in which this process runs (`MESH_ZONE`)."""
    zone_min_endpoints: int = 1
    """Endpoints of the preferred zone that have to be in rotation; with fewer there is no preference."""

    def __post_init__(self) -> None:
        known = typing.get_args(BalancerPolicy)
        for policy in (self.policy, *self.targets.values()):
            _require(policy in known, f"balancer.policy: {policy!r} is none of {', '.join(known)}")
        for name in ("slow_start", "ewma_decay", "connect_timeout", "max_backoff", "drain_timeout"):
            _require(getattr(self, name) >= 0, f"balancer.{name}: must not be negative")
        _require(self.zone_min_endpoints > 0, "balancer.zone_min_endpoints: must be positive")


@dataclass(frozen=True)
class ChannelConfig:
    """Native channels of the client."""

    max_send_message: int = -1
    """Bytes of the longest request; -1: no bound."""
    max_receive_message: int = 4 * 1024 * 1024
    """Bytes of the longest response; -1: no bound."""
    members: tuple[str, ...] = ()
    """Targets known to be servers of the mesh, which are pinged each ten seconds; `*`: all. Others are pinged
    each five minutes, until one has said that it is of the mesh."""
    keepalive: Mapping[str, float] = field(default_factory=dict)
    """Seconds between two pings by target, whatever the target is: `product=10,legacy=600`; `*`: all."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Any channel argument, of all targets or of one:
    `grpc.http2.max_frame_size=65536,product:grpc.optimization_target=latency`."""

    overload_ratio: float = 2.0
    """Calls that are sent for each one that an overloaded target takes; the others fail at once with
    RESOURCE_EXHAUSTED. 0: all are sent."""

    def __post_init__(self) -> None:
        _require(
            self.overload_ratio == 0 or self.overload_ratio > 1,
            "channel.overload_ratio: must be above 1, or 0",
        )
        _require(self.max_send_message >= -1, "channel.max_send_message: must be a size or -1")
        _require(self.max_receive_message >= -1, "channel.max_receive_message: must be a size or -1")
        for target, seconds in self.keepalive.items():
            _require(seconds > 0, f"channel.keepalive: {target}: must be positive")

    def is_member(self, target: str) -> bool:
        """Return whether the target is declared to be of the mesh."""
        return target in self.members or "*" in self.members

    def keepalive_of(self, target: str) -> float | None:
        """Return the interval that is set for a target, in seconds, or None."""
        return self.keepalive.get(target, self.keepalive.get("*"))

    def options_of(self, target: str) -> dict[str, int | str]:
        """Return the channel arguments of a target; its own go before those of all."""
        found: dict[str, int | str] = {}
        for own in (False, True):
            for key, value in self.options.items():
                of, colon, name = key.rpartition(":")
                if bool(colon) is own and of in ("", target):
                    found[name] = int(value) if value.lstrip("-").isdigit() else value
        return found


@dataclass(frozen=True)
class RetryConfig:
    """When a failed call is tried again."""

    max_attempts: int = 4
    """Attempts of one call, the first included; 1 switches retries off."""
    codes: tuple[str, ...] = ("UNAVAILABLE",)
    """Status codes that may be retried, for methods declared idempotent in the proto."""
    base_backoff: float = 0.02
    """Upper bound of the first wait (full jitter)."""
    max_backoff: float = 1.0
    """Upper bound of any wait."""
    budget_ratio: float = 0.2
    """Retries as a share of calls."""
    budget_floor: float = 10.0
    """Retries per second that are always allowed."""

    def __post_init__(self) -> None:
        _require(self.max_attempts >= 1, "retry.max_attempts: must be at least 1")
        _require(0 < self.base_backoff <= self.max_backoff, "retry.base_backoff: must be in (0, max_backoff]")
        _require(0 <= self.budget_ratio <= 1, "retry.budget_ratio: must be in [0, 1]")
        _require(self.budget_floor >= 0, "retry.budget_floor: must not be negative")


@dataclass(frozen=True)
class DeadlineConfig:
    """How long calls may take."""

    default: float = 5.0
    """For a unary call that names none and inherits none."""
    stream: float = 3600.0
    """The same for a stream."""
    margin: float = 0.0
    """Kept back from an inherited deadline, for the way home."""

    def __post_init__(self) -> None:
        _require(self.default > 0 and self.stream > 0, "deadline.default: must be positive")
        _require(self.margin >= 0, "deadline.margin: must not be negative")


@dataclass(frozen=True)
class ServiceConfigConfig:
    """Settings of targets and their methods, as gRPC service configs."""

    file: Path | None = None
    """JSON that maps targets to service configs; `*` stands for every target. None: there is none."""
    inline: str = ""
    """The same as text; what it sets goes before the file."""
    poll_interval: float = 1.0
    """How often the file is looked at."""

    def __post_init__(self) -> None:
        _require(self.poll_interval > 0, "service_config.poll_interval: must be positive")


@dataclass(frozen=True)
class FaultConfig:
    """Faults on purpose."""

    enabled: bool = False
    """Whether this process can be broken by `mesh.fault.v1.FaultService`; without, it does not serve that."""


@dataclass(frozen=True)
class DrainConfig:
    """How a process leaves."""

    delay: float = 1.0
    """From NOT_SERVING to refusing new calls: the time for callers to see it."""
    grace: float = 20.0
    """How long running calls may finish after that."""
    stream_grace: float = 1.0
    """How long response streams may finish by themselves before they are told to resume elsewhere."""

    def __post_init__(self) -> None:
        for name in ("delay", "grace", "stream_grace"):
            _require(getattr(self, name) >= 0, f"drain.{name}: must not be negative")


@dataclass(frozen=True)
class AdmissionConfig:
    """How much a server takes on."""

    enabled: bool = True
    """Whether anything is refused."""
    target_age: float = 0.5
    """How long calls may queue before they are served, in seconds; 0: however long."""
    min_calls: int = 64
    """Unary calls that may always run at once: the limit that adapts does not go below."""
    max_calls: int = 1000
    """Unary calls that may run at once at most."""
    max_streams: int = 1000
    """Streams that may run at once."""
    max_bytes: int = 1 << 32
    """What a message of the largest size for each call that runs may take."""
    priorities: Mapping[str, str] = field(default_factory=dict)
    """`critical`, `default` or `sheddable` by method: `a.Orders/Create=critical,a.Items/List=sheddable`."""

    def __post_init__(self) -> None:
        _require(self.target_age >= 0, "admission.target_age: must not be negative")
        _require(
            0 < self.min_calls <= self.max_calls, "admission.min_calls: must be in (0, admission.max_calls]"
        )
        _require(self.max_streams > 0, "admission.max_streams: must be positive")
        _require(self.max_bytes > 0, "admission.max_bytes: must be positive")
        for method, priority in self.priorities.items():
            known = ("critical", "default", "sheddable")
            _require(
                priority in known, f"admission.priorities: {method}={priority} is none of {', '.join(known)}"
            )


@dataclass(frozen=True)
class TelemetryConfig:
    """What a process tells."""

    sample_ratio: float = 0.01
    """Share of new traces that are recorded; a caller's decision is followed."""
    max_forced_traces: float = 200.0
    """Calls a second that are recorded because their caller says so; beyond it, `sample_ratio` decides."""
    baggage_targets: tuple[str, ...] = ()
    """Targets outside the cluster that W3C baggage is sent to."""
    otlp_endpoint: str = ""
    """OTLP over gRPC; empty: OTEL_EXPORTER_OTLP_ENDPOINT; none: spans are not exported."""
    access_log: Literal["all", "errors", "off"] = "all"
    """Which served calls get a line."""
    load_report_interval: float = 0.0
    """How often a server renews the load report that its answers carry, for callers that balance by
    weighted_round_robin; 0: they carry none."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Of everything else."""

    def __post_init__(self) -> None:
        _require(0 <= self.sample_ratio <= 1, "telemetry.sample_ratio: must be in [0, 1]")
        _require(self.max_forced_traces >= 0, "telemetry.max_forced_traces: must not be negative")
        _require(self.load_report_interval >= 0, "telemetry.load_report_interval: must not be negative")


@dataclass(frozen=True)
class MeshConfig:
    """One process's membership."""

    service: str
    """The workload's name: `product`."""
    replica: str = ""
    """This process among the service's: `product-1`, or the pod's name."""
    zone: str = ""
    """Where this process runs, such as `eu-central-1a`: told to callers; empty: nobody knows."""
    namespace: str = "meshmart"
    """The Kubernetes namespace, and `ns` in SPIFFE identities."""
    cluster_domain: str = "cluster.local"
    """Suffix of service names in DNS."""
    address: str = "127.0.0.1:50051"
    """Where the mesh server listens."""
    resolver: ResolverConfig = field(default_factory=ResolverConfig)
    balancer: BalancerConfig = field(default_factory=BalancerConfig)
    channel: ChannelConfig = field(default_factory=ChannelConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    retry: RetryConfig = field(default_factory=RetryConfig)
    deadline: DeadlineConfig = field(default_factory=DeadlineConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    service_config: ServiceConfigConfig = field(default_factory=ServiceConfigConfig)
    authz: AuthzConfig = field(default_factory=AuthzConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    fault: FaultConfig = field(default_factory=FaultConfig)
    drain: DrainConfig = field(default_factory=DrainConfig)
    admission: AdmissionConfig = field(default_factory=AdmissionConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)
    admin: AdminConfig = field(default_factory=AdminConfig)

    def __post_init__(self) -> None:
        _require(bool(self.service), "service: must not be empty")
        _require(not self.zone or is_zone(self.zone), f"zone: {self.zone!r} is no name of a zone")

    @property
    def preferred_zone(self) -> str:
        """The zone whose endpoints are preferred; empty: there is no preference."""
        return self.balancer.zone or (self.zone if self.balancer.prefer_own_zone else "")

    def target(self, text: str) -> Target:
        """Understand what a channel is opened to: `product`, `product.shop` or a full name, and `:port`.

        Raises:
            TargetError: it is none of these.
        """
        return Target.parse(text, self.namespace, self.cluster_domain)

    def dns_name(self, target: str) -> str:
        """The fully qualified name of a target, trailing dot included (it saves search look-ups)."""
        return self.target(target).name

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **defaults: Any) -> Self:
        """Reads `MESH_*`.

        Args:
            environ: Usually `os.environ`.
            defaults: For `MeshConfig`'s own fields that the environment does not set.

        Raises:
            ConfigError: with a line for each variable that is wrong or unknown.
        """
        reader = EnvironReader({k: v for k, v in environ.items() if k.startswith("MESH_")})
        config = reader.read(cls, "MESH", defaults)
        reader.reject_unknown()
        if reader.problems or config is None:
            raise ConfigError(reader.problems)
        return config
