"""All settings of the mesh: frozen dataclasses, validated at construction, read once at the start.

The variable of a field is `MESH_<CONCERN>_<FIELD>`, such as `MESH_RESOLVER_NAMESERVER`. Those of `MeshConfig`
itself have no concern, such as `MESH_SERVICE`. Durations are in seconds. A TOML file (`MESH_CONFIG_FILE`) may
set the same fields, with a table for each concern. `from_env` reports all bad settings together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from grpcmesh.client_config import BalancerConfig as BalancerConfig
from grpcmesh.client_config import BalancerPolicyName as BalancerPolicyName
from grpcmesh.client_config import ChannelConfig as ChannelConfig
from grpcmesh.client_config import ResolverConfig as ResolverConfig
from grpcmesh.client_config import RetryConfig as RetryConfig
from grpcmesh.environ import ConfigError as ConfigError
from grpcmesh.environ import EnvironReader, read_settings_file
from grpcmesh.environ import require as _require
from grpcmesh.identity_config import AuthConfig as AuthConfig
from grpcmesh.identity_config import AuthzConfig as AuthzConfig
from grpcmesh.identity_config import IdentityConfig as IdentityConfig
from grpcmesh.platform_settings import DEFAULT_NAMESPACE, of_platform
from grpcmesh.ports_config import AdminConfig as AdminConfig
from grpcmesh.ports_config import HealthConfig as HealthConfig
from grpcmesh.ports_config import ServerConfig as ServerConfig
from grpcmesh.target import Target, TargetError, is_label, is_zone

#: Names the file with settings.
CONFIG_FILE = "MESH_CONFIG_FILE"


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
    max_streams: int = 1250
    """The most streams that run at once. 90 % of them may be of default priority: 1,125."""
    max_bytes: int = 1 << 33
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

    origins: ClassVar[Mapping[str, str]] = {}
    """The source of each setting that is set, by its variable, if the settings were read by `from_env`."""
    service: str
    """Name of the workload, such as `product`."""
    replica: str = ""
    """Name of this process among those of the service: `product-1`, or the pod's name."""
    zone: str = ""
    """The zone of this process, such as `eu-central-1a`, which callers learn. Empty: unknown."""
    namespace: str = DEFAULT_NAMESPACE
    """The Kubernetes namespace, and `ns` in SPIFFE identities. In a pod with a service account token, the
    default is the pod's own."""
    cluster_domain: str = "cluster.local"
    """Suffix of service names in DNS."""
    address: str = "127.0.0.1:50051"
    """Address that the mesh server listens on."""
    targets: Mapping[str, str] = field(default_factory=dict)
    """Where targets are found, by the name that `mesh.channel` is called with:
    `product=dns:///product.shop:8443,legacy=static:///10.0.0.1:50051,10.0.0.2:50051`. See
    mesh/docs/targets.md."""
    plaintext: bool = False
    """Whether connections are neither encrypted nor authenticated. For development only."""
    require_tls: bool = False
    """Whether a process that is configured for plaintext refuses to start."""
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
        _require(is_label(self.namespace), f"namespace: {self.namespace!r} is no name of a namespace")
        _require(not self.zone or is_zone(self.zone), f"zone: {self.zone!r} is no name of a zone")
        contradiction = self.plaintext and self.require_tls
        _require(not contradiction, "plaintext: refused, because MESH_REQUIRE_TLS is set")
        for name, text in self.targets.items():
            try:
                _require(not self._parse(name).scheme, f"targets: {name!r} has to be a name without a scheme")
                self._parse(text)
            except TargetError as e:
                raise ConfigError([f"targets: {name}: {e}"]) from e

    @property
    def preferred_zone(self) -> str:
        """Return the zone whose endpoints are preferred; empty if there is no preference."""
        return self.balancer.zone or (self.zone if self.balancer.prefer_own_zone else "")

    def target(self, text: str) -> Target:
        """Return where a target is found.

        Args:
            text: A name of `targets`, else `product`, `product.shop` or a full name, optionally with `:port`
                and a scheme. Addresses (`static`) have the name that `targets` gives them.

        Raises:
            TargetError: The text has another form.
        """
        if (mapped := self.targets.get(text)) is None:
            return self._parse(text)
        found = self._parse(mapped)
        return found if found.name else replace(self._parse(text), scheme="static", addresses=found.addresses)

    @property
    def own_name(self) -> str:
        """Return the DNS name of this process's own service, without the trailing dot. Raises TargetError."""
        return self._parse(self.service).name.rstrip(".")

    def dns_name(self, target: str) -> str:
        """Return the fully qualified name of a target, with the trailing dot. Raises TargetError."""
        return self.target(target).name

    def _parse(self, text: str) -> Target:
        return Target.parse(text, self.namespace, self.cluster_domain)

    @classmethod
    def from_env(cls, environ: Mapping[str, str], **defaults: Any) -> Self:
        """Read all settings from variables `MESH_*`, and from the file that `MESH_CONFIG_FILE` names.

        Args:
            environ: The variables, usually `os.environ`. They override the file.
            defaults: Values of `MeshConfig`'s own fields that neither sets. A group such as
                `retry=RetryConfig(…)` gives the default of each of its settings.

        Raises:
            ConfigError: A setting is wrong or unknown. The error has a line for each.
        """
        variables = {k: v for k, v in environ.items() if k.startswith("MESH_")}
        file = variables.pop(CONFIG_FILE, "")
        table = read_settings_file(Path(file)) if file else {}
        platform = of_platform(environ, table, defaults)
        variables |= {name: value for name, (value, _) in platform.items()}
        reader = EnvironReader(variables, file, table)
        config = reader.read(cls, "MESH", defaults, reader.table)
        reader.reject_unknown()
        if reader.problems or config is None:
            raise reader.error()
        origins = {**reader.origins, **{name: source for name, (_, source) in platform.items()}}
        object.__setattr__(config, "origins", origins)  # of this object alone; it is no setting itself
        return config
