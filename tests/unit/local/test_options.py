"""What the command line may say, and what becomes of it in a replica's environment."""

from pathlib import Path

import pytest

from grpcmesh.config import MeshConfig
from grpcmesh.grpc_environment import CIPHER_SUITES, EXPERIMENTS, OWN_POLLER, TLS13_ONLY
from local.addresses import ManyAddresses, OneAddress, Place, choose
from local.catalog import SHOP
from local.environment import Surroundings, client_environment
from local.errors import ClusterError
from local.options import Options, parse_count, parse_duration, parse_replica
from local.state import StateDir


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("90s", 90), ("1.5m", 90), ("300ms", 0.3), ("2d", 172800)]
)
def test_durations_have_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "24", "h", "1 h", "1w", "xs"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


def test_counts_and_replicas_are_read() -> None:
    assert parse_count("product=3") == ("product", 3)
    assert parse_replica("product/1") == ("product", 1)


@pytest.mark.parametrize("text", ["product", "product=", "=3", "product=-1", "product=x", "product=²"])
def test_a_bad_count_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="SERVICE=NUMBER"):
        parse_count(text)


@pytest.mark.parametrize(
    "options",
    [
        Options(replicas={"nobody": 1}),
        Options(replicas={"product": 51}),
        Options(port=70000),
        Options(rotate_every=0.1),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: Options) -> None:
    with pytest.raises(ClusterError):
        options.check(SHOP)


def test_options_survive_the_way_to_a_detached_supervisor() -> None:
    options = Options(Path("/x"), 80, {"product": 3}, 60.0)
    assert Options.decode(options.encode()) == options


def test_each_replica_has_an_address_of_its_own_and_the_same_ports() -> None:
    loopback = ManyAddresses(http_port=8080)
    assert loopback.place(SHOP["product"], 2) == Place("127.0.1.2", 50051, 50052, 9090, 8080)
    assert loopback.place(SHOP["storefront"], 1).host == "127.0.9.1"


def test_where_there_is_one_address_each_replica_has_ports_of_its_own_and_keeps_them() -> None:
    loopback = OneAddress()
    places = [loopback.place(SHOP["product"], n) for n in (1, 2, 3)]
    ports = [port for p in places for port in (p.mesh, p.health, p.admin, p.http)]
    assert len(set(ports)) == len(ports)
    assert loopback.place(SHOP["product"], 2) == places[1]


def test_the_kind_of_loopback_can_be_forced() -> None:
    assert choose({"MESHMART_LOOPBACK": "single"}, 8080).resolver_kind == "srv"
    assert choose({"MESHMART_LOOPBACK": "127.42"}, 8080).place(SHOP["order"], 1).host in (
        "127.42.2.1",
        "127.0.0.1",
    )
    with pytest.raises(ClusterError, match="MESHMART_LOOPBACK"):
        choose({"MESHMART_LOOPBACK": "10.0"}, 8080)


def surroundings(base: dict[str, str]) -> Surroundings:
    return Surroundings(
        StateDir(Path("/s")), base, "127.0.0.1:53", "dns", "http://127.0.0.1:4317", "http://t"
    )


def test_a_replica_is_told_who_and_where_it_is_in_words_that_the_mesh_knows() -> None:
    place = Place("127.0.1.2", 50051, 50052, 9090, 8080)
    environment = surroundings({"PATH": "/bin"}).replica(SHOP["product"], 2, place)
    config = MeshConfig.from_env(environment)
    assert (config.service, config.replica, config.address) == ("product", "product-2", "127.0.1.2:50051")
    assert config.identity.directory == Path("/s/certs/product")
    assert config.resolver.nameserver == "127.0.0.1:53"
    assert environment["MESHMART_DATA_DIR"] == "/s/data"
    assert environment["PATH"] == "/bin"
    assert "MESHMART_HTTP_ADDRESS" not in environment


def test_only_the_user_service_gets_the_signing_keys_and_only_the_storefront_an_http_address() -> None:
    place = Place("127.0.1.2", 50051, 50052, 9090, 8080)
    made = {name: surroundings({}).replica(spec, 1, place) for name, spec in SHOP.items()}
    assert {n for n, e in made.items() if e.get("MESHMART_SIGNING_KEYS_DIR") == "/s/keys"} == {"user"}
    assert {n for n, e in made.items() if e.get("MESHMART_HTTP_ADDRESS") == "127.0.1.2:8080"} == {
        "storefront"
    }


def test_the_users_own_settings_pass_through_but_do_not_move_a_replica() -> None:
    base = {"MESH_RETRY_MAX_ATTEMPTS": "1", "MESH_TELEMETRY_SAMPLE_RATIO": "1", "MESH_ADDRESS": "0.0.0.0:1"}
    place = Place("127.0.1.2", 50051, 50052, 9090, 8080)
    config = MeshConfig.from_env(surroundings(base).replica(SHOP["product"], 2, place))
    assert config.retry.max_attempts == 1
    assert config.telemetry.sample_ratio == 1
    assert config.address == "127.0.1.2:50051"


def test_what_clients_know_of_the_shop_does_not_depend_on_the_defaults_of_the_library() -> None:
    place = Place("127.0.1.2", 50051, 50052, 9090, 8080)
    config = MeshConfig.from_env(surroundings({"MESH_NAMESPACE": "mine"}).replica(SHOP["user"], 1, place))
    assert config.identity.trust_domain == "cluster.local"
    assert config.own_name == "user.meshmart.svc.cluster.local"
    assert (config.auth.issuer, config.auth.audience) == ("https://user.meshmart", "meshmart")
    assert config.server.error_domain == "meshmart"


def test_replicas_are_spread_over_the_zones_that_the_user_names() -> None:
    place = Place("127.0.1.2", 50051, 50052, 9090, 8080)
    base = {"MESHMART_ZONES": "a, b"}
    zones = [
        MeshConfig.from_env(surroundings(base).replica(SHOP["product"], n, place)).zone for n in (1, 2, 3)
    ]
    assert zones == ["a", "b", "a"]
    assert MeshConfig.from_env(surroundings({}).replica(SHOP["product"], 1, place)).zone == ""


def test_a_replica_takes_no_tls_below_1_3_unless_the_user_says_otherwise() -> None:
    place = Place("127.0.1.2", 50051, 50052, 9090, 8080)
    assert surroundings({}).replica(SHOP["product"], 2, place)[CIPHER_SUITES] == TLS13_ONLY
    assert surroundings({CIPHER_SUITES: "HIGH"}).replica(SHOP["product"], 2, place)[CIPHER_SUITES] == "HIGH"


def test_a_replica_does_its_own_polling_unless_the_user_says_otherwise() -> None:
    place = Place("127.0.1.2", 50051, 50052, 9090, 8080)
    assert surroundings({}).replica(SHOP["product"], 2, place)[EXPERIMENTS] == OWN_POLLER
    assert surroundings({EXPERIMENTS: ""}).replica(SHOP["product"], 2, place)[EXPERIMENTS] == ""


def test_a_program_outside_joins_as_the_operator_and_listens_nowhere() -> None:
    config = MeshConfig.from_env(client_environment(StateDir(Path("/s")), "127.0.0.1:53", "srv"))
    assert config.service == "client"
    assert config.identity.directory == Path("/s/certs/client")
    assert config.namespace == "meshmart"
    assert config.admin.address == ""
    assert config.resolver.kind == "srv"
