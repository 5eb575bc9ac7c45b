"""All settings of the mesh: frozen dataclasses, validated at construction, read from the environment once.

The variable of a field is `MESH_<CONCERN>_<FIELD>`, such as `MESH_RESOLVER_NAMESERVER`. Those of `MeshConfig`
itself have no concern, such as `MESH_SERVICE`. Durations are in seconds. `from_env` reports all bad variables
together.
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
    """Settings of load balancing and of connections to endpoints."""

    policy: BalancerPolicy = "round_robin"
    """The default policy."""
    targets: Mapping[str, BalancerPolicy] = field(default_factory=dict)
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
        known = typing.get_args(BalancerPolicy)
        for policy in (self.policy, *self.targets.values()):
            _require(policy in known, f"balancer.policy: {policy!r} is none of {', '.join(known)}")
        for name in ("slow_start", "ewma_decay", "connect_timeout", "max_backoff", "drain_timeout"):
            _require(getattr(self, name) >= 0, f"balancer.{name}: must not be negative")
        _require(self.zone_min_endpoints > 0, "balancer.zone_min_endpoints: must be positive")


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
        _require(
            self.overload_ratio == 0 or self.overload_ratio > 1,
            "channel.overload_ratio: must be above 1, or 0",
        )
        _require(self.max_send_message >= -1, "channel.max_send_message: must be a size or -1")
        _require(self.max_receive_message >= -1, "channel.max_receive_message: must be a size or -1")
        for target, seconds in self.keepalive.items():
            _require(seconds > 0, f"channel.keepalive: {target}: must be positive")

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
        _require(self.max_attempts >= 1, "retry.max_attempts: must be at least 1")
        _require(0 < self.base_backoff <= self.max_backoff, "retry.base_backoff: must be in (0, max_backoff]")
        _require(0 <= self.budget_ratio <= 1, "retry.budget_ratio: must be in [0, 1]")
        _require(self.budget_floor >= 0, "retry.budget_floor: must not be negative")


@dataclass(frozen=True)
class DeadlineConfig:
    """Settings of deadlines, in seconds."""

    default: float = 5.0
    """Timeout of a unary call whose caller names none."""
    stream: float = 3600.0
    """Timeout of a streaming call whose caller names none."""
    margin: float = 0.0
    """Time by which a call ends before the inherited deadline, to leave time for the answer."""

    def __post_init__(self) -> None:
        _require(self.default > 0 and self.stream > 0, "deadline.default: must be positive")
        _require(self.margin >= 0, "deadline.margin: must not be negative")


@dataclass(frozen=True)
class ServiceConfigConfig:
    """Sources of gRPC service configs, which hold the settings of targets and their methods."""

    file: Path | None = None
    """A JSON file that maps targets to service configs. `*` stands for every target. None: no file."""
    inline: str = ""
    """The same JSON as text. It overrides the file."""
    poll_interval: float = 1.0
    """Seconds between two looks at the file."""

    def __post_init__(self) -> None:
        _require(self.poll_interval > 0, "service_config.poll_interval: must be positive")


@dataclass(frozen=True)
class FaultConfig:
    """Settings of fault injection."""

    enabled: bool = False
    """Whether this process serves `mesh.fault.v1.FaultService`, by which faults can be injected."""


@dataclass(frozen=True)
class DrainConfig:
    """Settings of the drain of a process, in seconds."""

    delay: float = 1.0
    """Time from NOT_SERVING to refusing new calls, in which callers notice NOT_SERVING."""
    grace: float = 20.0
    """Time that calls under way have to end after that."""
    stream_grace: float = 1.0
    """Time that response streams have to end by themselves. Then they end with an error that tells callers to
    resume elsewhere."""

    def __post_init__(self) -> None:
        for name in ("delay", "grace", "stream_grace"):
            _require(getattr(self, name) >= 0, f"drain.{name}: must not be negative")


@dataclass(frozen=True)
class AdmissionConfig:
    """Settings of admission: how many calls a server accepts."""

    enabled: bool = True
    """Whether admission refuses calls."""
    target_age: float = 0.5
    """Seconds that calls may queue before they are served. 0: no bound."""
    min_calls: int = 64
    """Lower bound of the adaptive limit on unary calls that run at once."""
    max_calls: int = 1000
    """Upper bound of the adaptive limit on unary calls that run at once."""
    max_streams: int = 1000
    """The most streams that run at once."""
    max_bytes: int = 1 << 32
    """The most bytes that the messages of all running calls may take, if each has one of the largest size."""
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
    """Settings of metrics, traces and logs."""

    sample_ratio: float = 0.01
    """Share of new traces that are recorded. A caller's sampling decision is respected."""
    max_forced_traces: float = 200.0
    """Calls per second that are recorded because their caller asks for it. Beyond it, the ratio decides."""
    baggage_targets: tuple[str, ...] = ()
    """Targets outside the cluster to which W3C baggage is sent."""
    otlp_endpoint: str = ""
    """Endpoint for OTLP over gRPC. Empty: OTEL_EXPORTER_OTLP_ENDPOINT. Without either, none is exported."""
    otlp_metrics: bool = False
    """Whether gRPC's metrics of gRFC A66 are exported over OTLP, too."""
    otlp_metrics_interval: float = 60.0
    """Seconds between two exports of metrics."""
    otlp_metrics_methods: tuple[str, ...] = ()
    """Full names of methods that these metrics name although they are not generated. Any other such method is
    `other`."""
    access_log: Literal["all", "errors", "off"] = "all"
    """The served calls that are logged."""
    load_report_interval: float = 0.0
    """Seconds between two updates of the load report that answers carry, for callers that balance by
    weighted_round_robin. 0: answers carry none."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level of log lines other than the access log."""

    def __post_init__(self) -> None:
        _require(0 <= self.sample_ratio <= 1, "telemetry.sample_ratio: must be in [0, 1]")
        _require(self.max_forced_traces >= 0, "telemetry.max_forced_traces: must not be negative")
        _require(self.otlp_metrics_interval >= 0.1, "telemetry.otlp_metrics_interval: must be at least 0.1")
        _require(self.load_report_interval >= 0, "telemetry.load_report_interval: must not be negative")


@dataclass(frozen=True)
class MeshConfig:
    """All settings of one process."""

    service: str
    """Name of the workload, such as `product`."""
    replica: str = ""
    """Name of this process among those of the service: `product-1`, or the pod's name."""
    zone: str = ""
    """The zone of this process, such as `eu-central-1a`, which callers learn. Empty: unknown."""
    namespace: str = "meshmart"
    """The Kubernetes namespace, and `ns` in SPIFFE identities."""
    cluster_domain: str = "cluster.local"
    """Suffix of service names in DNS."""
    address: str = "127.0.0.1:50051"
    """Address that the mesh server listens on."""
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
        """Return the zone whose endpoints are preferred; empty if there is no preference."""
        return self.balancer.zone or (self.zone if self.balancer.prefer_own_zone else "")

    def target(self, text: str) -> Target:
        """Parse the target of a channel: `product`, `product.shop` or a full name, optionally with `:port`.

        Raises:
            TargetError: The text has another form.
        """
        return Target.parse(text, self.namespace, self.cluster_domain)

    def dns_name(self, target: str) -> str:
        """Return the fully qualified name of a target, with the trailing dot. Raises TargetError."""
        return self.target(target).name

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **defaults: Any) -> Self:
        """Read all settings from variables `MESH_*`.

        Args:
            environ: The variables, usually `os.environ`.
            defaults: Values of `MeshConfig`'s own fields that the environment does not set.

        Raises:
            ConfigError: A variable is wrong or unknown. The error has a line for each.
        """
        reader = EnvironReader({k: v for k, v in environ.items() if k.startswith("MESH_")})
        config = reader.read(cls, "MESH", defaults)
        reader.reject_unknown()
        if reader.problems or config is None:
            raise ConfigError(reader.problems)
        return config
