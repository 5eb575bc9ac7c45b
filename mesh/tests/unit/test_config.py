import dataclasses
from pathlib import Path
from typing import Any

import pytest

import grpcmesh.config
from grpcmesh.client_config import RetryConfig
from grpcmesh.config import ConfigError, MeshConfig, ServiceConfigConfig
from grpcmesh.target import Target

#: The list is repeated here on purpose: a changed default changes the behaviour of every process.
DEFAULTS = {
    "replica": "",
    "namespace": "default",
    "cluster_domain": "cluster.local",
    "address": "127.0.0.1:50051",
    "targets": {},
    "plaintext": False,
    "require_tls": False,
    "resolver.kind": "dns",
    "resolver.nameserver": "",
    "resolver.resolv_conf": Path("/etc/resolv.conf"),
    "resolver.port": 50051,
    "resolver.min_interval": 1.0,
    "resolver.max_interval": 30.0,
    "resolver.timeout": 2.0,
    "resolver.try_interval": 0.4,
    "resolver.max_endpoints": 1000,
    "resolver.jitter": 0.1,
    "balancer.policy": "round_robin",
    "balancer.targets": {},
    "balancer.slow_start": 1.0,
    "balancer.ewma_decay": 10.0,
    "balancer.connect_timeout": 5.0,
    "balancer.max_backoff": 1.0,
    "balancer.drain_timeout": 30.0,
    "zone": "",
    "balancer.zone": "",
    "balancer.prefer_own_zone": False,
    "balancer.zone_min_endpoints": 1,
    "channel.max_send_message": -1,
    "channel.max_receive_message": 4 * 1024 * 1024,
    "channel.members": (),
    "channel.keepalive": {},
    "channel.options": {},
    "channel.overload_ratio": 2.0,
    "server.max_receive_message": 4 * 1024 * 1024,
    "server.max_send_message": -1,
    "server.max_metadata": 16 * 1024,
    "server.max_connections": 4096,
    "server.max_connections_per_peer": 512,
    "server.max_concurrent_streams": 250,
    "server.max_pending_calls": 10_000,
    "server.wasted_calls": 200.0,
    "server.wasted_calls_burst": 500,
    "server.keepalive_time": 30.0,
    "server.keepalive_timeout": 10.0,
    "server.handshake_timeout": 5.0,
    "server.max_connection_age": 0.0,
    "server.threads": 32,
    "server.options": {},
    "server.error_domain": "",
    "server.reflection": True,
    "server.channelz": True,
    "health.address": "127.0.0.1:50052",
    "health.watch": True,
    "health.max_connections": 128,
    "health.max_connections_per_peer": 16,
    "health.bytes_per_second": 16 * 1024,
    "health.max_watchers": 4096,
    "health.max_watchers_per_peer": 1024,
    "retry.max_attempts": 4,
    "retry.codes": ("UNAVAILABLE",),
    "retry.base_backoff": 0.02,
    "retry.max_backoff": 1.0,
    "retry.budget_ratio": 0.2,
    "retry.budget_floor": 10.0,
    "deadline.default": 5.0,
    "deadline.stream": 3600.0,
    "deadline.margin": 0.0,
    "identity.directory": Path("/var/run/mesh/tls"),
    "identity.bundle": None,
    "identity.poll_interval": 1.0,
    "identity.servers": {},
    "identity.trust_domain": "cluster.local",
    "identity.spiffe_id": "",
    "identity.bundles": {},
    "identity.endpoint_socket": "",
    "service_config.file": None,
    "service_config.inline": "",
    "service_config.poll_interval": 1.0,
    "authz.policy_file": None,
    "authz.poll_interval": 1.0,
    "auth.issuer": "",
    "auth.audience": "",
    "auth.subjects": "number",
    "auth.roles_claim": "roles",
    "auth.issuers": {},
    "auth.audiences": {},
    "auth.jwks": {},
    "auth.roles_claims": {},
    "auth.algorithms": ("EdDSA", "ES256", "RS256"),
    "auth.ca_file": None,
    "auth.fetch_timeout": 5.0,
    "auth.stale_limit": 86400.0,
    "auth.leeway": 5.0,
    "auth.refresh_interval": 30.0,
    "auth.cache_size": 4096,
    "auth.keys_timeout": 30.0,
    "fault.enabled": False,
    "admission.enabled": True,
    "admission.target_age": 0.5,
    "admission.min_calls": 64,
    "admission.max_calls": 1000,
    "admission.max_streams": 1250,
    "admission.max_bytes": 1 << 33,
    "admission.priorities": {},
    "drain.delay": 1.0,
    "drain.grace": 20.0,
    "drain.stream_grace": 1.0,
    "telemetry.sample_ratio": 0.01,
    "telemetry.max_forced_traces": 200.0,
    "telemetry.baggage_targets": (),
    "telemetry.otlp_endpoint": "",
    "telemetry.otlp_metrics": False,
    "telemetry.otlp_metrics_interval": 60.0,
    "telemetry.otlp_metrics_methods": (),
    "telemetry.access_log": "all",
    "telemetry.load_report_interval": 0.0,
    "telemetry.log_level": "INFO",
    "admin.address": "127.0.0.1:9090",
    "admin.token_file": None,
    "admin.metrics_only": False,
    "admin.metrics_token": False,
}


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = dataclasses.is_dataclass(value)
        values |= flat(value, f"{field.name}.") if nested else {prefix + field.name: value}
    return values


def read(**environ: str) -> MeshConfig:
    return MeshConfig.from_env(environ, service="ping")


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read(**environ)
    return raised.value.problems


def test_the_defaults_are_these() -> None:
    assert flat(read()) == {"service": "ping", **DEFAULTS}


def test_every_field_has_a_docstring() -> None:
    source = Path(grpcmesh.config.__file__)
    lines = source.read_text().splitlines()
    fields = [i for i, line in enumerate(lines) if line.startswith("    ") and " = " in line and ": " in line]
    names = {name.split(".")[-1] for name in DEFAULTS}
    for i in fields:
        if lines[i].strip().split(":")[0] in names and not lines[i].startswith("        "):
            assert lines[i + 1].strip().startswith('"""'), lines[i]


def test_defaults_that_are_groups_hold_where_nothing_else_sets_a_setting(tmp_path: Path) -> None:
    file = tmp_path / "mesh.toml"
    file.write_text("[retry]\nmax_attempts = 4\n")
    groups = {
        "retry": RetryConfig(max_attempts=2, base_backoff=0.2, max_backoff=9.0),
        "service_config": ServiceConfigConfig(inline='{"product": {}}'),
    }
    environ = {"MESH_CONFIG_FILE": str(file), "MESH_RETRY_MAX_BACKOFF": "7"}
    config = MeshConfig.from_env(environ, service="ping", **groups)
    assert config.service_config == groups["service_config"]  # a8def03 and later versions dropped both groups
    assert config.retry == RetryConfig(max_attempts=4, base_backoff=0.2, max_backoff=7.0)


def test_variables_are_named_after_their_fields() -> None:
    config = read(
        MESH_SERVICE="order",
        MESH_REPLICA="order-2",
        MESH_RESOLVER_NAMESERVER="127.0.0.1:5353",
        MESH_BALANCER_TARGETS="product=least_request, user=random",
        MESH_RETRY_CODES="UNAVAILABLE,ABORTED",
        MESH_HEALTH_WATCH="off",
        MESH_IDENTITY_DIRECTORY="/certs",
        MESH_AUTHZ_POLICY_FILE="/policy.toml",
        PATH="/bin",
    )
    assert (config.service, config.replica) == ("order", "order-2")
    assert config.resolver.nameserver == "127.0.0.1:5353"
    assert config.balancer.targets == {"product": "least_request", "user": "random"}
    assert config.retry.codes == ("UNAVAILABLE", "ABORTED")
    assert config.health.watch is False
    assert (config.identity.directory, config.authz.policy_file) == (Path("/certs"), Path("/policy.toml"))


def test_channel_arguments_are_of_all_targets_or_of_one() -> None:
    channel = read(
        MESH_CHANNEL_MAX_RECEIVE_MESSAGE="-1",
        MESH_CHANNEL_MEMBERS="product",
        MESH_CHANNEL_KEEPALIVE="legacy=600,*=20",
        MESH_CHANNEL_OPTIONS="grpc.x=1,product:grpc.x=-2,order:grpc.y=text",
    ).channel
    assert channel.max_receive_message == -1
    assert channel.is_member("product")
    assert not channel.is_member("order")
    assert (channel.keepalive_of("legacy"), channel.keepalive_of("order")) == (600.0, 20.0)
    assert channel.options_of("product") == {"grpc.x": -2}
    assert channel.options_of("order") == {"grpc.x": 1, "grpc.y": "text"}


def test_every_bad_variable_is_told_at_once() -> None:
    told = problems(
        MESH_DRAIN_GRACE="soon",
        MESH_RESOLVER_PORT="70000",
        MESH_BALANCER_POLICY="fastest",
        MESH_HEALTH_WATCH="perhaps",
        MESH_RETRY_MAX_ATTEMPTS="0",
        MESH_COLOUR="blue",
    )
    assert len(told) == 6
    for word in ("MESH_DRAIN_GRACE='soon'", "70000", "fastest", "perhaps", "_MAX_ATTEMPTS: ", "MESH_COLOUR"):
        assert any(word in line for line in told), word


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MESH_RESOLVER_TIMEOUT", "0"),
        ("MESH_RESOLVER_JITTER", "1"),
        ("MESH_RESOLVER_MIN_INTERVAL", "60"),
        ("MESH_BALANCER_SLOW_START", "-1"),
        ("MESH_BALANCER_TARGETS", "product"),
        ("MESH_RETRY_BUDGET_RATIO", "2"),
        ("MESH_RETRY_BASE_BACKOFF", "0"),
        ("MESH_DEADLINE_DEFAULT", "0"),
        ("MESH_IDENTITY_POLL_INTERVAL", "0"),
        ("MESH_IDENTITY_TRUST_DOMAIN", ""),
        ("MESH_DRAIN_DELAY", "-1"),
        ("MESH_DRAIN_STREAM_GRACE", "-1"),
        ("MESH_TELEMETRY_SAMPLE_RATIO", "1.5"),
        ("MESH_TELEMETRY_ACCESS_LOG", "some"),
        ("MESH_CHANNEL_MAX_SEND_MESSAGE", "-2"),
        ("MESH_CHANNEL_KEEPALIVE", "product=0"),
        ("MESH_CHANNEL_KEEPALIVE", "product=often"),
        ("MESH_SERVICE", ""),
    ],
)
def test_a_value_out_of_range_is_refused(variable: str, value: str) -> None:
    assert len(problems(**{variable: value})) == 1


def test_a_dns_name_is_fully_qualified() -> None:
    assert read().dns_name("product") == "product.default.svc.cluster.local."


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400"])
def test_a_duration_that_is_no_number_is_refused(value: str) -> None:
    told = f"MESH_DEADLINE_STREAM={value!r}: must be a finite number"
    assert problems(MESH_DEADLINE_STREAM=value) == [told]


def test_a_target_is_found_where_the_settings_say() -> None:
    config = read(
        MESH_TARGETS="product=dns:///catalogue.shop:8443,hello=static:///10.0.0.1:1,10.0.0.2:2,old=srv:///old.a"
    )
    assert config.target("product") == Target(
        "catalogue.shop.svc.cluster.local.", 8443, "catalogue", "shop", "dns"
    )
    addresses = ("10.0.0.1:1", "10.0.0.2:2")
    named = Target("hello.default.svc.cluster.local.", None, "hello", "default", "static", addresses)
    assert config.target("hello") == named
    assert config.target("old").scheme == "srv"
    assert config.target("order") == Target("order.default.svc.cluster.local.", None, "order", "default")


def test_the_own_name_is_not_that_of_a_target() -> None:
    assert read(MESH_TARGETS="ping=dns:///other.shop").own_name == "ping.default.svc.cluster.local"


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        ("product=xds:///a", "the scheme 'xds' is not supported"),
        ("dns:///product=product", "has to be a name without a scheme"),
        ("product=dns:///a b", "is not a label"),
        ("product=static:///a:1", "use IP addresses"),
        ("product", "is not name=value"),
    ],
)
def test_a_wrong_target_is_told_at_the_start(targets: str, told: str) -> None:
    assert told in problems(MESH_TARGETS=targets)[0]


FILE = """
namespace = "shop"
[resolver]
port = 50061
min_interval = 2
nameserver = "10.0.0.53"
[channel]
members = ["product", "order"]
[channel.options]
"grpc.http2.max_frame_size" = 65536
[server]
reflection = false
[targets]
product = "dns:///product.other:8443"
"""


def file(directory: Path, text: str) -> str:
    path = directory / "mesh.toml"
    path.write_text(text)
    return str(path)


def test_a_file_sets_what_the_environment_does_not(tmp_path: Path) -> None:
    path = file(tmp_path, FILE)
    environ = {"MESH_CONFIG_FILE": path, "MESH_RESOLVER_NAMESERVER": "10.0.0.54"}
    config = MeshConfig.from_env(environ, service="ping")
    changed = {key: value for key, value in flat(config).items() if DEFAULTS.get(key) != value}
    assert changed == {
        "service": "ping",
        "namespace": "shop",
        "resolver.port": 50061,
        "resolver.min_interval": 2.0,
        "resolver.nameserver": "10.0.0.54",
        "channel.members": ("product", "order"),
        "channel.options": {"grpc.http2.max_frame_size": "65536"},
        "server.reflection": False,
        "targets": {"product": "dns:///product.other:8443"},
    }
    assert config.origins["MESH_RESOLVER_PORT"] == path
    assert config.origins["MESH_RESOLVER_NAMESERVER"] == "environment"
    assert "MESH_RESOLVER_TIMEOUT" not in config.origins


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port = 1", "mesh.toml: port: no such setting"),
        ("[resolver]\nprot = 1", "mesh.toml: resolver_prot: no such setting"),
        ("[resolver]\nport = true", "mesh.toml: resolver_port = True: has the wrong type"),
        ("[resolver]\nport = 1.5", "mesh.toml: resolver_port = 1.5: "),
        ("[resolver]\nport = 99999", "mesh.toml: resolver_port: 99999 is not a port"),
        ("[resolver]\ntimeout = inf", "mesh.toml: resolver_timeout = inf: must be a finite number"),
        ("[server]\nreflection = 1", "mesh.toml: server_reflection = 1: has the wrong type"),
        ("namespace = 1", "mesh.toml: namespace = 1: must be a string"),
        ("targets = ['a']", "mesh.toml: targets = ['a']: has the wrong type"),
        ("resolver = 1", "mesh.toml: resolver: must be a table"),
        ("[balancer]\npolicy = 'best'", "mesh.toml: balancer_policy = 'best': must be one of"),
        ("= 1", "mesh.toml: "),
        ("a = " + "[" * 5000, "mesh.toml: "),
        ("#" * 300_000, "mesh.toml: larger than 262144 bytes"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    [problem] = problems(MESH_CONFIG_FILE=file(tmp_path, text))
    assert told in problem


def test_a_missing_or_unreadable_file_is_told(tmp_path: Path) -> None:
    assert "No such file" in problems(MESH_CONFIG_FILE=str(tmp_path / "none"))[0]
    assert "Is a directory" in problems(MESH_CONFIG_FILE=str(tmp_path))[0]
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "binary: " in problems(MESH_CONFIG_FILE=str(tmp_path / "binary"))[0]


def test_plaintext_and_required_tls_are_a_contradiction() -> None:
    assert problems(MESH_PLAINTEXT="true", MESH_REQUIRE_TLS="true") == [
        "MESH_PLAINTEXT: refused, because MESH_REQUIRE_TLS is set"
    ]
